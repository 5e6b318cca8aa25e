/// The values of one statement, one after the other, so that one pointer serves them all.
struct ParameterBuffer {
    /// Never empty: an empty value still needs an address.
    private(set) var bytes: [UInt8] = []
    /// `nil` for null.
    private(set) var offsets: [Int?] = []
    private(set) var lengths: [Int32] = []

    init(_ parameters: [PostgresParameter]) throws(PostgresError) {
        bytes.reserveCapacity(parameters.reduce(1) { $0 + ($1.value?.count ?? 0) })
        offsets.reserveCapacity(parameters.count)
        lengths.reserveCapacity(parameters.count)
        for (index, parameter) in parameters.enumerated() {
            if let defect = parameter.defect {
                throw PostgresError(.invalidParameter, message: "parameter $\(index + 1): \(defect)")
            }
            let count = parameter.value?.count ?? 0
            guard count <= Self.valueBytesMax else {
                throw PostgresError(
                    .invalidParameter,
                    message: "parameter $\(index + 1): \(count) bytes exceed PostgreSQL's limit of 1 GiB; split it")
            }
            offsets.append(parameter.value == nil ? nil : bytes.count)
            lengths.append(Int32(count))
            if let value = parameter.value { bytes.append(contentsOf: value) }
        }
        bytes.append(0)
    }

    private static let valueBytesMax = 0x3fff_ffff
}
