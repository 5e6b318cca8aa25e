import NIOCore
import NIOHTTP1
import NIOPosix

/// `GET /healthz` and `GET /counts`.
final class StatusHandler: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    private let mailboxes: Mailboxes
    private var head: HTTPRequestHead?

    init(_ mailboxes: Mailboxes) {
        self.mailboxes = mailboxes
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head): self.head = head
        case .body: break
        case .end:
            guard let head else { return context.close(promise: nil) }
            switch head.uri {
            case "/healthz": answer(.ok, "{\"status\":\"ok\"}", head, context)
            case "/counts": answer(.ok, counts, head, context)
            default: answer(.notFound, "{\"error\":\"there is /counts and /healthz\"}", head, context)
            }
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }

    private var counts: String {
        let (accepted, refused) = mailboxes.counts
        let reports = mailboxes.reporter.counts
        return "{\"accepted\":\(object(accepted)),\"refused\":\(object(refused)),"
            + "\"accepted_total\":\(accepted.values.reduce(0, +)),\"pending_reports\":\(reports.pending),"
            + "\"reported\":\(reports.reported),\"duplicates\":\(reports.duplicates),\"lost\":\(reports.lost),"
            + "\"visits\":\(reports.visits),\"failed_visits\":\(reports.failedVisits)}"
    }

    private func object(_ counts: [Behaviour: Int]) -> String {
        let pairs = counts.sorted { $0.key.rawValue < $1.key.rawValue }.map { "\"\($0.key.rawValue)\":\($0.value)" }
        return "{\(pairs.joined(separator: ","))}"
    }

    private func answer(
        _ status: HTTPResponseStatus, _ body: String, _ request: HTTPRequestHead, _ context: ChannelHandlerContext
    ) {
        let headers: HTTPHeaders = ["Content-Type": "application/json", "Content-Length": "\(body.utf8.count)"]
        let head = HTTPResponseHead(version: .http1_1, status: status, headers: headers)
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        if request.method != .HEAD {
            context.write(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(string: body)))), promise: nil)
        }
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
        if !request.isKeepAlive { context.close(promise: nil) }
    }
}
