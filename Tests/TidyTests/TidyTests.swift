import Foundation
import Testing

/// The architecture and the house rules, checked from the sources themselves.
@Suite struct `The tree` {
    static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    /// What Package.swift declares, in its order: each module may import only what stands before it.
    struct Declared {
        var order: [String] = []
        /// Folder to module.
        var folders: [String: String] = [:]
        /// The programs, as modules are called.
        var services: Set<String> = []

        init() throws {
            let text = try String(contentsOf: `The tree`.root.appending(path: "Package.swift"), encoding: .utf8)
            let entry = /(?:\bmodule\(\s*"(\w+)",\s*"([\w\/]+)"|systemLibrary\(\s*name: "(\w+)",\s*path: "([\w\/]+)")/
            for match in text.matches(of: entry).map(\.output) {
                guard let name = match.1 ?? match.3 else { continue }
                order.append(String(name))
                folders[match.2.map { "Shared/\($0)" } ?? match.4.map { String($0) } ?? ""] = String(name)
            }
            let program = /(?:\bservice\(|executableTarget\(\s*name:)\s*"([\w-]+)"/
            services = Set(text.matches(of: program).map { String($0.output.1).replacing("-", with: "_") })
        }
    }

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
        let sources = try files.compactMap { $0 as? String }.filter { $0.hasSuffix(suffix) }.sorted().map {
            Source(path: "\(folder)/\($0)", text: try String(contentsOf: base.appending(path: $0), encoding: .utf8))
        }
        try #require(!sources.isEmpty, "there is no \(suffix) file under \(folder)")
        return sources
    }

    @Test func `modules import only what stands above them, and services never import each other`() throws {
        let declared = try Declared()
        for (folder, module) in declared.folders where module.first != "C" || module == "Contracts" {
            let rank = try #require(declared.order.firstIndex(of: module))
            for source in try Self.sources(under: folder) {
                for imported in source.imports {
                    #expect(!declared.services.contains(imported), "\(source.path) imports the service \(imported)")
                    if let importedRank = declared.order.firstIndex(of: imported) {
                        #expect(
                            importedRank < rank, "\(source.path) imports \(imported), which does not stand above it")
                    }
                }
            }
        }
        for source in try Self.sources(under: "Services") {
            for imported in source.imports {
                #expect(!declared.services.contains(imported), "\(source.path): \(imported)")
            }
        }
    }

    /// The rules above are only as good as the list that they go by.
    @Test func `every source is of a module or a program that Package.swift declares`() throws {
        let declared = try Declared()
        #expect(
            declared.order.count == declared.folders.count && declared.folders["Shared/Domain/Delivery"] == "Delivery")
        for source in try Self.sources(under: "Shared") + Self.sources(under: "Shared", ".modulemap") {
            #expect(
                declared.folders.keys.contains { source.path.hasPrefix($0 + "/") },
                "\(source.path) is of no module that the layering is checked for")
        }
        for source in try Self.sources(under: "Services") {
            let program = String(source.path.split(separator: "/")[1]).replacing("-", with: "_")
            #expect(declared.services.contains(program), "\(source.path) is of no program")
        }
        for (folder, module) in declared.folders {
            #expect(folder.hasSuffix("/\(module)"), "the module \(module) lies in \(folder)")
        }
    }

    @Test func `the domain knows the standard library only`() throws {
        for source in try Self.sources(under: "Shared/Domain") {
            #expect(Set(source.imports).isSubset(of: ["Delivery", "Mail"]), "\(source.path): \(source.imports)")
        }
    }

    @Test func `pointers stay behind the C fence`() throws {
        let pointer = /\bUnsafe(Mutable)?(Raw)?(Buffer)?Pointer\b|\bOpaquePointer\b/
        for source in try Self.sources(under: "Shared") + Self.sources(under: "Services") {
            let isFence = source.path.hasPrefix("Shared/Interop/") || source.path.hasSuffix("Handle.swift")
            if !isFence {
                #expect(source.text.firstMatch(of: pointer) == nil, "\(source.path)")
                #expect(!source.imports.contains { ["CLibpq", "CRdkafka", "CZlib"].contains($0) }, "\(source.path)")
            }
        }
    }

    @Test func `no unchecked concurrency, no trap for what a peer can cause, no leftovers`() throws {
        let words = [
            "@unchecked Sendable", "nonisolated(unsafe)", "try!", " as! ", "fatalError(\"", "TODO", "FIXME",
            "print(\"DEBUG",
            // Exit handlers free what other threads still use: `ProcessEnd`.
            "Foundation.exit(", " exit(",
        ]
        for source in try Self.sources(under: "Shared") + Self.sources(under: "Services") {
            for word in words { #expect(!source.text.contains(word), "\(source.path): \(word)") }
        }
    }

    @Test func `files stay small enough to read`() throws {
        for source in try Self.sources(under: "Shared") + Self.sources(under: "Services") + Self.sources(under: "Tests")
        {
            #expect(source.lines.count <= 400, "\(source.path) has \(source.lines.count) lines")
        }
    }

    /// As swift-format lays them out: a function ends at the first closing brace that stands as far in as it begins. The
    /// lines of a text, such as a statement of SQL, are not counted.
    @Test func `functions stay small enough to read`() throws {
        let beginning = /^ *(?:@\w+(?:\(.*\))? |[a-z]+(?:\([a-z]+\))? )*(?:func|init|subscript|deinit)\b/
        var count = 0
        for source in try Self.sources(under: "Shared") + Self.sources(under: "Services") + Self.sources(under: "Tests")
        {
            let lines = source.lines
            for (start, line) in lines.enumerated() where line.prefixMatch(of: beginning) != nil && line.last != "}" {
                let margin = line.prefix { $0 == " " }
                guard let end = lines[start...].firstIndex(where: { $0.hasPrefix(margin + "}") }) else { continue }
                let text = lines[start...end]
                    .split(omittingEmptySubsequences: false) { $0.contains("\"\"\"") }.enumerated()
                    .filter { $0.offset % 2 == 1 }.map(\.element.count).reduce(0, +)
                count += 1
                let length = end - start + 1 - text
                #expect(length <= 70, "\(source.path):\(start + 1) has \(length) lines")
            }
        }
        #expect(count > 1000)
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
        let files = try Self.sources(under: "Shared/Adapters/Schema/Migrations", ".sql").map { source in
            String(source.path.split(separator: "/").last ?? "").replacing(".", with: "_")
        }
        for (index, file) in files.enumerated() { #expect(file.hasPrefix("V000\(index + 1)__"), "\(file)") }
        let list = try String(
            contentsOf: Self.root.appending(path: "Shared/Adapters/Schema/Migration.swift"), encoding: .utf8)
        let entry = /Migration\((\d+), "(\w+)", PackageResources\.(\w+)\)/
        let listed = list.matches(of: entry).map(\.output)
        #expect(listed.map { String($0.3) } == files)
        for (number, name, file) in listed.map({ ($0.1, $0.2, $0.3) }) { #expect(file == "V000\(number)__\(name)_sql") }
    }

    @Test func `every page of the report is listed and used, and includes only pages that exist`() throws {
        let folder = "Services/report-api/Pages"
        let sources = try Self.sources(under: "Services/report-api").map(\.text).joined(separator: "\n")
        let templates = try Self.sources(under: folder, ".mustache")
        let names = Set(templates.map { String($0.path.dropFirst(folder.count + 1).dropLast(".mustache".count)) })
        let included = Set(
            templates.flatMap { $0.text.matches(of: /\{\{> *(\w+) *\}\}/).map { String($0.output.1) } })
        #expect(included.isSubset(of: names))
        for name in names {
            let entry = "(\"\(name)\", PackageResources.\(name)_mustache)"
            #expect(sources.contains(entry), "\(name) is not listed")
            #expect(
                included.contains(name) || sources.replacing(entry, with: "").contains("\"\(name)\""),
                "nothing shows \(name)")
        }
    }

    @Test func `every known setting is declared by a program`() throws {
        let path = "Shared/Runtime/Configuration/KnownKeys.swift"
        let declarations = try (Self.sources(under: "Services") + Self.sources(under: "Shared/Runtime"))
            .filter { $0.path != path }.map(\.text).joined(separator: "\n")
        let list = try String(contentsOf: Self.root.appending(path: path), encoding: .utf8)
        let keys = list.matches(of: /"([a-z]+(?:\.[a-z]+)+)"/).map { String($0.output.1) }
        try #require(keys.count > 10)
        for key in keys { #expect(declarations.contains("\"\(key)\""), "no program declares \(key)") }
    }

    @Test func `every metric of a service begins with rollcall_ and counters end in _total`() throws {
        let instrument = /\.(counter|gauge|histogram)\(\s*"([^"]*)"/
        var count = 0
        for source in try Self.sources(under: "Services") {
            for match in source.text.matches(of: instrument) {
                count += 1
                #expect(match.output.2.hasPrefix("rollcall_"), "\(source.path): \(match.output.2)")
                #expect((match.output.1 == "counter") == match.output.2.hasSuffix("_total"), "\(match.output.2)")
            }
        }
        #expect(count > 20)
    }

    @Test func `every promise names a test that its target has`() throws {
        var sources: [String: String] = [:]
        for file in ["README.md", "Shared/Guarantees.md"] {
            let text = try String(contentsOf: Self.root.appending(path: file), encoding: .utf8)
            let rows = text.split(separator: "\n").filter { $0.hasPrefix("| ") && $0.contains("Tests “") }
            #expect(rows.count >= 8, "\(file) has no table of guarantees")
            for row in rows {
                let cell = try #require(row.split(separator: "|").last { $0.contains("Tests “") })
                var target = ""
                for match in cell.matches(of: /(?:(\w+Tests) )?“([^”]+)”/) {
                    target = match.output.1.map(String.init) ?? target
                    let tests = try sources[target] ?? Self.sources(under: "Tests/\(target)").map(\.text).joined()
                    sources[target] = tests
                    #expect(tests.contains("`\(match.output.2)`"), "\(target) has no test called: \(match.output.2)")
                }
            }
        }
    }
}
