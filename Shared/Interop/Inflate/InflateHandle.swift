internal import CZlib

/// Why a gzip stream is refused.
public enum InflateFault: Error, Equatable, Sendable {
    /// Not gzip, or changed on its way: structure or checksum is wrong.
    case damaged
    /// The stream ended in the middle.
    case truncated
    /// It grows to more than the limit on octets.
    case tooLarge
    /// It grows so much more than lists do that it can only be meant to fill memory.
    case bomb
}

/// Inflates a gzip stream (RFC 1952), several members one after the other included, in pieces of bounded size.
///
/// A pull interface, because one octet of a hostile stream can stand for a thousand: the caller stores each piece before
/// it asks for the next. One user at a time.
@safe
public final class InflateHandle {
    /// The most octets of one piece.
    public static let pieceOctets = 64 * 1024
    /// Lists of people shrink to a fifth or a tenth; deflate's own limit is about 1030.
    public static let ratioMax = 200
    /// The ratio is judged from here on: little lists of equal lines are no attack.
    public static let ratioFrom = 4 * 1024 * 1024

    private enum State {
        case running, betweenMembers
    }

    private let stream: UnsafeMutablePointer<z_stream>
    private let limit: Int
    private var state = State.betweenMembers
    private var input: [UInt8] = []
    private var offset = 0
    private var taken = 0
    private var produced = 0
    private var members = 0
    /// zlib may hold output back although all input was taken.
    private var isDrained = true

    /// - Parameter limit: the most octets that may come out.
    public init(limit: Int) throws(InflateFault) {
        unsafe stream = .allocate(capacity: 1)
        unsafe stream.initialize(to: z_stream())
        self.limit = limit
        // 15 bits of window, and 16 for gzip instead of zlib framing.
        let size = unsafe Int32(MemoryLayout<z_stream>.size)
        guard unsafe inflateInit2_(stream, 15 + 16, ZLIB_VERSION, size) == Z_OK else { throw .damaged }
    }

    deinit {
        unsafe inflateEnd(stream)
        unsafe stream.deallocate()
    }

    /// Gives the next octets of the stream. Call it when `next()` has returned nil.
    public func feed(_ octets: [UInt8]) {
        input = Array(input[offset...]) + octets
        offset = 0
    }

    /// The next piece; nil when more input is needed.
    public func next() throws(InflateFault) -> [UInt8]? {
        while offset < input.count || !isDrained {
            if state == .betweenMembers {
                guard unsafe inflateReset(stream) == Z_OK else { throw .damaged }
                state = .running
                members += 1
            }
            let piece = try step()
            if !piece.isEmpty { return piece }
        }
        return nil
    }

    /// The stream has ended.
    public func finish() throws(InflateFault) {
        guard state == .betweenMembers, members > 0 else { throw .truncated }
    }

    private func step() throws(InflateFault) -> [UInt8] {
        var code = Z_OK
        var used = 0
        let piece = unsafe [UInt8](unsafeUninitializedCapacity: Self.pieceOctets) { output, count in
            unsafe input.withUnsafeBufferPointer { source in
                let left = source.count - offset
                unsafe stream.pointee.next_in = source.baseAddress.map {
                    unsafe UnsafeMutablePointer(mutating: $0 + offset)
                }
                unsafe stream.pointee.avail_in = UInt32(clamping: left)
                unsafe stream.pointee.next_out = output.baseAddress
                unsafe stream.pointee.avail_out = UInt32(output.count)
                code = unsafe CZlib.inflate(stream, Z_NO_FLUSH)
                used = min(left, Int(UInt32.max)) - Int(unsafe stream.pointee.avail_in)
                count = unsafe output.count - Int(stream.pointee.avail_out)
            }
        }
        offset += used
        taken += used
        produced += piece.count
        isDrained = piece.count < Self.pieceOctets
        switch code {
        case Z_OK: break
        // Nothing to do without more input; all of it was taken.
        case Z_BUF_ERROR where offset == input.count: isDrained = true
        case Z_STREAM_END:
            state = .betweenMembers
            isDrained = true
        default: throw .damaged
        }
        guard produced <= limit else { throw .tooLarge }
        guard produced < Self.ratioFrom || produced / Self.ratioMax < taken else { throw .bomb }
        return piece
    }
}
