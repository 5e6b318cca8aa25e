/// Cuts a text into its lines, from chunks cut anywhere, for lists with one JSON object a line.
///
/// A line ends in LF or CR LF; blank lines (nothing but spaces and tabs) are skipped.
struct LineParser {
    private let limits: ListLimits
    private var octets: [UInt8] = []
    private var line = 1

    init(limits: ListLimits) { self.limits = limits }

    mutating func parse(
        _ chunk: [UInt8], line emit: (Int, [UInt8]) throws(ListFault) -> Void
    ) throws(ListFault) {
        for octet in chunk {
            if octet == 0x0A {
                try endLine(emit)
            } else {
                octets.append(octet)
                guard octets.count <= limits.lineOctets else {
                    throw ListFault(
                        .tooLong, line: line, reason: "the line has more than \(limits.lineOctets) octets")
                }
            }
        }
    }

    mutating func finish(line emit: (Int, [UInt8]) throws(ListFault) -> Void) throws(ListFault) { try endLine(emit) }

    private mutating func endLine(_ emit: (Int, [UInt8]) throws(ListFault) -> Void) throws(ListFault) {
        if octets.last == 0x0D { octets.removeLast() }
        if octets.contains(where: { $0 != 0x20 && $0 != 0x09 }) { try emit(line, octets) }
        octets.removeAll(keepingCapacity: true)
        line += 1
    }
}
