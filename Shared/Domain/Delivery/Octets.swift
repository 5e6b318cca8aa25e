extension [UInt8] {
    /// Appends a part of other octets. `+=` with a slice does the same, and counts references for it, which is most of
    /// the work where the parts are short.
    @inlinable public mutating func append(_ octets: Span<UInt8>) {
        unsafe octets.withUnsafeBufferPointer { unsafe append(contentsOf: $0) }
    }

    /// Big-endian.
    @inlinable public mutating func append(number: some FixedWidthInteger) {
        unsafe Swift.withUnsafeBytes(of: number.bigEndian) { unsafe append(contentsOf: $0) }
    }
}
