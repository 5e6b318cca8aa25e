/// Where a tracked link leads.
enum Destination {
    static let octetsMax = 2000

    /// Whether `url` may stand in a `Location` header: http or https, a host, visible ASCII only.
    static func isUsable(_ url: String) -> Bool {
        guard url.utf8.count <= octetsMax,
            url.utf8.allSatisfy({ (0x21...0x7E).contains($0) && $0 != UInt8(ascii: "\\") })
        else { return false }
        return authority(url)?.isEmpty == false
    }

    /// Host and path without query, fragment and user, as evidence of a click; without the path when that may contain
    /// an address.
    static func evidence(_ url: String) -> String {
        guard let authority = authority(url) else { return "" }
        let host = authority.split(separator: "@").last ?? ""
        let path = url[authority.endIndex...].prefix { $0 != "?" && $0 != "#" }
        let hasAddress = path.utf8.contains(UInt8(ascii: "@")) || path.lowercased().contains("%40")
        return PlainText.line(String(host) + (hasAddress ? "" : String(path)), octets: 200)
    }

    private static func authority(_ url: String) -> Substring? {
        for scheme in ["http://", "https://"] where url.prefix(scheme.count).lowercased() == scheme {
            return url.dropFirst(scheme.count).prefix { $0 != "/" && $0 != "?" && $0 != "#" }
        }
        return nil
    }
}
