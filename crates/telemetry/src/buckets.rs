//! The buckets of histograms: the same everywhere, so that latencies can be compared.

use prometheus::HistogramOpts;

/// Upper bounds for latencies: from the half millisecond that a lookup takes to the minutes that a
/// large query does.
pub const LATENCY_BUCKETS_SECONDS: [f64; 17] = [
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0,
    300.0,
];

/// Upper bounds for sizes: 1 KiB to 4 GiB.
pub const SIZE_BUCKETS_BYTES: [f64; 12] = [
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
    268_435_456.0,
    1_073_741_824.0,
    4_294_967_296.0,
];

/// The description of a latency histogram; its name ends in `_seconds`.
pub fn latency(name: &str, help: &str) -> HistogramOpts {
    HistogramOpts::new(name, help).buckets(LATENCY_BUCKETS_SECONDS.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_ascend() {
        assert!(LATENCY_BUCKETS_SECONDS.is_sorted_by(|a, b| a < b));
        assert!(SIZE_BUCKETS_BYTES.is_sorted_by(|a, b| a < b));
    }
}
