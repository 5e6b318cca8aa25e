import Foundation
import Testing

/// The architecture and the house rules, checked from the sources themselves.
@Suite struct `The tree` {
    static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    /// Modules in the order of Package.swift: each may import only what stands before it.
    static let order = [
        "Delivery", "Mail", "Contracts", "CLibpq", "CRdkafka", "BlockingExecutor", "Postgres", "Kafka", "Schema",
        "Signing", "SMTP", "Runtime",
    ]
    static let folders = [
        "Shared/Domain/Delivery": "Delivery", "Shared/Domain/Mail": "Mail", "Shared/Contracts": "Contracts",
        "Shared/Interop/BlockingExecutor": "BlockingExecutor", "Shared/Adapters/Postgres": "Postgres",
        "Shared/Adapters/Kafka": "Kafka", "Shared/Adapters/Schema": "Schema", "Shared/Adapters/Signing": "Signing",
        "Shared/Adapters/SMTP": "SMTP", "Shared/Runtime": "Runtime",
    ]
    static let services = [
        "sender", "event_ingester", "status_projector", "blacklist_guard", "report_api", "rollcall",
        "mailbox_simulator",
    ]

    struct Source {
        let path: String
        let text: String
        var lines: [Substring] { text.split(separator: "\n", omittingEmptySubsequences: false) }
        var imports: [String] {
            lines.compactMap { line in
                let words = line.split(separator: " ")
                guard let index = words.firstIndex(of: "import"), index <= 2, words.count > index + 1,
                    words[..<index].allSatisfy({
                        ["public", "internal", "private", "package", "@testable"].contains($0)
                    })
                else { return nil }
                return String(words[index + 1])
            }
        }
    }

    static func sources(under folder: String, _ suffix: String = ".swift") throws -> [Source] {
        let base = root.appending(path: folder)
        guard let files = FileManager.default.enumerator(atPath: base.path) else { return [] }
        return try files.compactMap { $0 as? String }.filter { $0.hasSuffix(suffix) }.sorted().map {
            Source(path: "\(folder)/\($0)", text: try String(contentsOf: base.appending(path: $0), encoding: .utf8))
        }
    }

    @Test func `modules import only what stands above them, and services never import each other`() throws {
        for (folder, module) in Self.folders {
            let rank = try #require(Self.order.firstIndex(of: module))
            let sources = try Self.sources(under: folder)
            #expect(!sources.isEmpty, "\(folder) has no sources")
            for source in sources {
                for imported in source.imports {
                    #expect(!Self.services.contains(imported), "\(source.path) imports the service \(imported)")
                    if let importedRank = Self.order.firstIndex(of: imported) {
                        #expect(
                            importedRank < rank, "\(source.path) imports \(imported), which does not stand above it")
                    }
                }
            }
        }
        for source in try Self.sources(under: "Services") {
            for imported in source.imports { #expect(!Self.services.contains(imported), "\(source.path): \(imported)") }
        }
    }

    @Test func `the domain knows the standard library only`() throws {
        for source in try Self.sources(under: "Shared/Domain") {
            #expect(source.imports.allSatisfy { Self.order.contains($0) }, "\(source.path): \(source.imports)")
        }
    }

    @Test func `pointers stay behind the C fence`() throws {
        let pointer = /\bUnsafe(Mutable)?(Raw)?(Buffer)?Pointer\b|\bOpaquePointer\b/
        for source in try Self.sources(under: "Shared") + Self.sources(under: "Services") {
            let isFence = source.path.hasPrefix("Shared/Interop/") || source.path.hasSuffix("Handle.swift")
            if !isFence {
                #expect(source.text.firstMatch(of: pointer) == nil, "\(source.path)")
                #expect(!source.imports.contains { $0 == "CLibpq" || $0 == "CRdkafka" }, "\(source.path)")
            }
        }
    }

    @Test func `no unchecked concurrency, no trap for what a peer can cause, no leftovers`() throws {
        let words = [
            "@unchecked Sendable", "nonisolated(unsafe)", "try!", " as! ", "fatalError(\"", "TODO", "FIXME",
            "print(\"DEBUG",
        ]
        for source in try Self.sources(under: "Shared") + Self.sources(under: "Services") {
            for word in words { #expect(!source.text.contains(word), "\(source.path): \(word)") }
        }
    }

    @Test func `files stay small enough to read`() throws {
        for source in try Self.sources(under: "Shared") + Self.sources(under: "Services") + Self.sources(under: "Tests")
        {
            #expect(source.lines.count <= 420, "\(source.path) has \(source.lines.count) lines")
        }
    }

    @Test func `the top level holds only what was agreed`() throws {
        let allowed: Set<String> = [
            "Package.swift", "Services", "Shared", "Tests", "deploy", "docker-compose.yml", "README.md", "Makefile",
            "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "Package.resolved",
        ]
        let names = try FileManager.default.contentsOfDirectory(atPath: Self.root.path).filter { !$0.hasPrefix(".") }
        #expect(Set(names).subtracting(allowed).isEmpty)
    }

    @Test func `every migration of the folder is listed, in order, without a gap`() throws {
        let files = try Self.sources(under: "Shared/Adapters/Schema/Migrations", ".sql").map(\.path)
        let list = try String(
            contentsOf: Self.root.appending(path: "Shared/Adapters/Schema/Migration.swift"), encoding: .utf8)
        for (index, file) in files.enumerated() {
            let name = file.split(separator: "/").last.map(String.init) ?? ""
            #expect(name.hasPrefix("V000\(index + 1)__"), "\(name)")
            #expect(
                list.contains("PackageResources." + name.replacing(".", with: "_")), "\(name) is not in Migration.all")
        }
    }

    @Test func `every promise of the README names a test that exists`() throws {
        let readme = try String(contentsOf: Self.root.appending(path: "README.md"), encoding: .utf8)
        let tests = try Self.sources(under: "Tests").map(\.text).joined(separator: "\n")
        let rows = readme.split(separator: "\n").filter { $0.hasPrefix("| ") && $0.contains("Tests") }
        #expect(!rows.isEmpty, "the README has no table of guarantees")
        for row in rows {
            guard let cell = row.split(separator: "|").last(where: { $0.contains("Tests") }) else { continue }
            for quoted in cell.matches(of: /“([^”]+)”/) {
                #expect(tests.contains("`\(quoted.output.1)`"), "no test is called: \(quoted.output.1)")
            }
        }
    }
}
