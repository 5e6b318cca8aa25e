internal import HTTPTypes
internal import Hummingbird

/// The routes of a server, to tell a wrong method from an unknown path.
struct RouteTable: Sendable {
    /// What the router calls the route of a request that matched none.
    static let unmatched = "NotFound"

    private let routes: [(path: RouterPath, method: HTTPRequest.Method)]

    init<Context>(_ router: Router<Context>) {
        routes = router.routes.map { ($0.path, $0.method) }
    }

    /// The methods that the path answers, in alphabetical order; empty when the path is unknown.
    func methods(for path: String) -> [String] {
        let parts = path.split(separator: "/")
        var methods = Set(routes.filter { Self.matches($0.path, parts) }.map(\.method.rawValue))
        if methods.contains("GET") { methods.insert("HEAD") }
        return methods.sorted()
    }

    private static func matches(_ path: RouterPath, _ parts: [Substring]) -> Bool {
        for (position, component) in path.components.enumerated() {
            if component == .recursiveWildcard { return true }
            guard position < parts.count, component ~= parts[position] else { return false }
        }
        return path.components.count == parts.count
    }
}
