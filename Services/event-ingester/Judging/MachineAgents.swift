/// User agents of programs that fetch without a person: scanners, prefetchers, link previews, command-line tools.
///
/// Proxies that fetch when a person opens the message (`GoogleImageProxy`, `YahooMailProxy`) are not on the list: with
/// them nobody who reads there would ever have opened anything.
enum MachineAgents {
    /// Whole values: Apple's privacy prefetch, and Gmail's prefetch ahead of the reader.
    private static let exact: Set<[UInt8]> = Set(
        [
            "mozilla/5.0",
            "mozilla/5.0 (windows nt 10.0; win64; x64) applewebkit/537.36 (khtml, like gecko) chrome/42.0.2311.135 "
                + "safari/537.36 edge/12.246 mozilla/5.0",
        ].map { Array($0.utf8) })

    /// Parts of values, in lower case.
    private static let parts = [
        "barracuda", "proofpoint", "mimecast", "messagelabs", "symantec", "trendmicro", "sophos", "fireeye",
        "forcepoint",
        "ironport", "safelinks", "linkscan", "scanner", "urlscan", "virustotal", "bingpreview", "skypeuripreview",
        "facebookexternalhit", "slackbot", "whatsapp", "telegrambot", "twitterbot", "linkpreview", "headlesschrome",
        "phantomjs", "crawler", "spider", "bot/", "bot;", "bot)", "curl/", "wget/", "python-", "go-http-client",
        "java/",
        "okhttp", "libwww-perl", "apache-httpclient", "node-fetch", "axios/",
    ]

    static func contains(_ userAgent: String) -> Bool {
        let lower = userAgent.lowercased()
        return exact.contains(Array(lower.utf8)) || parts.contains { lower.contains($0) }
    }
}
