import Testing

@testable import Runtime

@Suite struct MetricsTests {
    @Test func `the exposition follows the text format`() {
        let metrics = Metrics()
        metrics.counter("b_total", help: "Two\nlines \\ \"quoted\".", labels: ["z": "1", "a": "x\"y\\z\r\n"]).increment(
            by: 3)
        metrics.gauge("a_value", help: "A gauge.").set(2.5)
        metrics.gauge("c_value", help: "Read when scraped.") { .infinity }
        let histogram = metrics.histogram("d_seconds", help: "H.", buckets: [0.1, 1], labels: ["r": "x"])
        histogram.observe(0.1)
        histogram.observe(0.5)
        histogram.observe(7)
        #expect(
            metrics.exposition() == """
                # HELP a_value A gauge.
                # TYPE a_value gauge
                a_value 2.5
                # HELP b_total Two\\nlines \\\\ "quoted".
                # TYPE b_total counter
                b_total{a="x\\"y\\\\z\r\\n",z="1"} 3
                # HELP c_value Read when scraped.
                # TYPE c_value gauge
                c_value +Inf
                # HELP d_seconds H.
                # TYPE d_seconds histogram
                d_seconds_bucket{r="x",le="0.1"} 1
                d_seconds_bucket{r="x",le="1"} 2
                d_seconds_bucket{r="x",le="+Inf"} 3
                d_seconds_sum{r="x"} 7.6
                d_seconds_count{r="x"} 3

                """)
    }

    @Test func `the same name and labels give the same instrument`() {
        let metrics = Metrics()
        metrics.counter("n_total", help: "N.", labels: ["a": "1"]).increment()
        metrics.counter("n_total", help: "N.", labels: ["a": "1"]).increment()
        metrics.counter("n_total", help: "N.", labels: ["a": "2"]).increment()
        #expect(metrics.counter("n_total", help: "N.", labels: ["a": "1"]).value == 2)
    }

    @Test func `label values from outside cannot fill the memory`() {
        let metrics = Metrics()
        for number in 0..<5_000 { metrics.counter("n_total", help: "N.", labels: ["a": "\(number)"]).increment() }
        #expect(metrics.exposition().split(separator: "\n").count == 2 + Metrics.maximumSeries + 1)
        #expect(metrics.counter("n_total", help: "N.", labels: ["a": "other"]).value == 4_000)
    }

    @Test func `concurrent additions are not lost`() async {
        let metrics = Metrics()
        let (counter, gauge) = (metrics.counter("n_total", help: "N."), metrics.gauge("g", help: "G."))
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<8 {
                group.addTask {
                    for _ in 0..<10_000 {
                        counter.increment()
                        gauge.add(1)
                    }
                }
            }
        }
        #expect(counter.value == 80_000)
        #expect(gauge.value == 80_000)
    }

    @Test func `the process reports memory, CPU time and open files`() {
        #expect(ProcessMetrics.residentBytes() > 1_000_000)
        #expect(ProcessMetrics.cpuSeconds() > 0)
        #expect(ProcessMetrics.openDescriptors() > 2)
    }
}
