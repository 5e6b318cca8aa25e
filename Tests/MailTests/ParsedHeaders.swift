/// A reader of its own for what the builder writes: unfolds, and decodes B encoded words.
struct ParsedHeaders {
    let lines: [[UInt8]]
    private var fields: [(name: String, value: [UInt8])] = []

    init(_ octets: [UInt8]) {
        var lines: [[UInt8]] = []
        var line: [UInt8] = []
        for octet in octets {
            if octet != 10 {
                line.append(octet)
                continue
            }
            line.removeLast()
            if line.isEmpty { break }
            lines.append(line)
            line = []
        }
        self.lines = lines
        for line in lines {
            if line[0] == 0x20 {
                fields[fields.count - 1].value += line
            } else if let colon = line.firstIndex(of: 0x3A) {
                let name = String(decoding: line[..<colon], as: UTF8.self).lowercased()
                fields.append((name, Array(line[(colon + 2)...])))
            }
        }
    }

    var names: [String] { fields.map(\.name) }

    func raw(_ name: String) -> String {
        String(decoding: fields.first { $0.name == name }?.value ?? [], as: UTF8.self)
    }

    func decoded(_ name: String) -> String {
        var result: [UInt8] = []
        var afterWord = false
        for piece in (fields.first { $0.name == name }?.value ?? []).split(
            separator: 0x20, omittingEmptySubsequences: false)
        {
            let isWord = piece.starts(with: Array("=?UTF-8?B?".utf8)) && piece.suffix(2).elementsEqual([0x3F, 0x3D])
            if !result.isEmpty, !(isWord && afterWord) { result.append(0x20) }
            if isWord {
                result += Self.base64(piece.dropFirst(10).dropLast(2))
            } else {
                result += piece
            }
            afterWord = isWord
        }
        return String(decoding: result, as: UTF8.self)
    }

    private static func base64(_ text: some Sequence<UInt8>) -> [UInt8] {
        let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
        var bits = 0
        var count = 0
        var result: [UInt8] = []
        for octet in text {
            guard let value = alphabet.firstIndex(of: octet) else { break }
            bits = (bits << 6 | value) & 0xFFFF
            count += 6
            if count >= 8 {
                count -= 8
                result.append(UInt8(bits >> count & 0xFF))
            }
        }
        return result
    }
}
