import Foundation

/// The headers of a parked record as they are stored beside it: JSON of the form `[["name", "base64"], …]`, because a
/// value may be any octets and a name may come several times.
public enum ParkedHeaders {
    public static func json(_ headers: [(name: String, value: [UInt8])]) throws -> String {
        let pairs = headers.map { [$0.name, Data($0.value).base64EncodedString()] }
        return String(decoding: try JSONEncoder().encode(pairs), as: UTF8.self)
    }

    public static func read(_ json: String) throws(ContractError) -> [(name: String, value: [UInt8])] {
        guard let pairs = try? JSONDecoder().decode([[String]].self, from: Data(json.utf8)) else {
            throw ContractError("the stored headers are not a list of pairs")
        }
        var headers: [(name: String, value: [UInt8])] = []
        for pair in pairs {
            guard pair.count == 2, let value = Data(base64Encoded: pair[1]) else {
                throw ContractError("a stored header is not a name with a base64 value")
            }
            headers.append((pair[0], Array(value)))
        }
        return headers
    }
}
