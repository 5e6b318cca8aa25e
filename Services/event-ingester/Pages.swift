import Foundation
import HTTPTypes
import Hummingbird
import Mail
import NIOCore
import Runtime
import Signing

/// The few pages a reader of a message may see. They need no script, no cookie and nothing from elsewhere.
enum Pages {
    static let unsubscribe = page(
        .ok, title: "Unsubscribe",
        """
        <p>Press the button if you no longer want to receive e-mails like the one you came from.</p>
        <form method="post"><input type="hidden" name="confirm" value="1">
        <button type="submit">Unsubscribe</button></form>
        <p>If you came here by mistake, close this page. Nothing has been changed.</p>
        """)

    static let unsubscribed = page(
        .ok, title: "You are unsubscribed",
        "<p>Your wish has been recorded. You need not do anything else and may close this page.</p>")

    static let acknowledge = page(
        .ok, title: "Confirm that you have read the message",
        """
        <p>Press the button to tell the sender that you have read the message.</p>
        <form method="post"><input type="hidden" name="confirm" value="1">
        <button type="submit">I have read it</button></form>
        """)

    static let acknowledged = page(
        .ok, title: "Thank you",
        "<p>The sender has been told that you have read the message. You may close this page.</p>")

    /// The answers to choose from, each a button of its own; pressing another one later changes the answer.
    static func respond(_ answers: [String]) -> Response {
        let buttons = answers.enumerated().map { index, answer in
            "<p><button type=\"submit\" name=\"answer\" value=\"\(index + 1)\">\(MarkupText.escape(answer))</button></p>"
        }
        return page(
            .ok, title: "Your answer",
            """
            <p>Choose your answer. You can change it later with the same link.</p>
            <form method="post">\(buttons.joined(separator: "\n"))</form>
            """)
    }

    static func responded(_ answer: String) -> Response {
        page(
            .ok, title: "Thank you",
            "<p>Your answer “\(MarkupText.escape(answer))” has been recorded. You may close this page.</p>")
    }

    /// A page instead of JSON for everything that goes wrong where readers come.
    static func problem(_ problem: Problem, at path: String) -> Response? {
        let isClick = path.hasPrefix("/c/")
        let isUnsubscribe = path.hasPrefix("/u/")
        guard isClick || isUnsubscribe || path.hasPrefix("/a/") || path.hasPrefix("/r/") else { return nil }
        var response: Response
        switch problem.status {
        case .notFound:
            response = page(
                .notFound, title: "This link does not work",
                """
                <p>It may be incomplete, or the message it stands in may be too old. Open it again from the message, or
                ask the sender.</p>
                """)
        case .serviceUnavailable:
            response = page(
                .serviceUnavailable, title: "Please try again",
                isClick
                    ? "<p>The link cannot be opened at this moment. Reload this page in a few seconds.</p>"
                    : """
                    <p>\(isUnsubscribe ? "Your wish" : "Your answer") could not be recorded at this moment. Reload this page
                    in a few seconds.</p>
                    """)
        case .badRequest:
            response = page(
                .badRequest, title: "Nothing has been changed",
                isUnsubscribe
                    ? "<p>To unsubscribe, open the link in the message again and press the button.</p>"
                    : "<p>Open the link in the message again and press a button.</p>")
        default:
            response = page(problem.status, title: "This did not work", "<p>Nothing has been changed.</p>")
        }
        for field in problem.headers where field.name == .retryAfter || field.name == .allow {
            response.headers[field.name] = field.value
        }
        return response
    }

    private static func page(_ status: HTTPResponse.Status, title: String, _ body: String) -> Response {
        let html = """
            <!DOCTYPE html>
            <html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
            <meta name="robots" content="noindex"><title>\(title)</title><style>\(style)</style></head>
            <body><main><h1>\(title)</h1>
            \(body)
            </main></body></html>

            """
        return Response(
            status: status,
            headers: [.contentType: "text/html; charset=utf-8", .contentSecurityPolicy: policy],
            body: .init(byteBuffer: ByteBuffer(string: html)))
    }

    private static let style = """
        :root{color-scheme:light dark}body{font:1.125rem/1.5 system-ui,sans-serif;margin:0}\
        main{max-width:34rem;margin:0 auto;padding:2rem 1rem}h1{font-size:1.5rem;line-height:1.25}\
        button{font:inherit;font-weight:600;padding:.75rem 1.5rem;border:0;border-radius:.5rem;\
        background:#0b57d0;color:#fff;cursor:pointer}button:focus-visible{outline:3px solid;outline-offset:3px}
        """

    /// Only this very style sheet, and a form that leads back here.
    private static let policy =
        "default-src 'none'; style-src 'sha256-\(Data(SHA256Digest.of(Array(style.utf8))).base64EncodedString())'; "
        + "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
}
