import HTTPTypes
import Hummingbird
import Postgres
import Runtime

/// Everything that this service answers: the JSON API under `/v1`, the pages elsewhere.
struct ReportRoutes: Sendable {
    private let api: APIRoutes
    private let pages: PageRoutes
    private let signIn: SignInRoutes
    private let settings: SettingsRoutes
    private let approval: ApprovalRoutes
    private let site: Site

    init(pool: PostgresPool, sessions: Sessions, commandWake: Wake, pastSlots: PastSlots = PastSlots(limit: 2)) throws {
        let keys = KeyRing(pool: pool)
        let commands = CommandStore(pool: pool)
        let store = SettingsStore(pool: pool)
        site = try Site()
        api = APIRoutes(
            pool: pool, keys: keys, commands: commands, commandWake: commandWake, settings: store, pastSlots: pastSlots)
        let gate = Gate(keys: keys, sessions: sessions)
        pages = PageRoutes(
            pool: pool, gate: gate, site: site, commands: commands, commandWake: commandWake, pastSlots: pastSlots)
        signIn = SignInRoutes(gate: gate, site: site)
        settings = SettingsRoutes(gate: gate, site: site, settings: store)
        approval = ApprovalRoutes(pool: pool, gate: gate, site: site)
    }

    func register<Context: RequestContext & Sendable>(on router: Router<Context>) {
        api.register(on: router)
        pages.register(on: router)
        signIn.register(on: router)
        settings.register(on: router)
        approval.register(on: router)
        site.register(on: router)
    }

    /// People see a page for a refusal, programs a problem document.
    var problemPage: HTTPServerService.ProblemPage {
        { [site] problem, request in
            request.uri.path.hasPrefix("/v1/") || request.uri.path == "/v1" ? nil : site.problem(problem)
        }
    }
}
