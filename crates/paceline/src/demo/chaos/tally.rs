//! Counters of schedulers, summed over all their lives.

use std::time::Duration;

/// A process that is about to be killed is not waited for longer.
const GLANCE: Duration = Duration::from_millis(500);

/// What schedulers counted.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Running attempts and finished outputs of former owners that were used.
    pub(super) adopted: u64,
    /// Tasks that were run again for no fault of their own.
    pub(super) rerun: u64,
}

impl Tally {
    /// Adds what a scheduler has counted in this life. To be asked once in each.
    pub(super) async fn add(&mut self, metrics: &str) {
        let Ok(Some(text)) = tokio::time::timeout(GLANCE, text_of(metrics)).await else {
            return;
        };
        let attempts = "paceline_task_attempts_total{outcome=\"taken_back\"}";
        self.adopted += value(&text, attempts);
        self.adopted += value(&text, "paceline_exchange_outputs_taken_back_total");
        self.rerun += value(&text, "paceline_task_reruns_total");
    }
}

async fn text_of(metrics: &str) -> Option<String> {
    let direct = reqwest::Client::builder().no_proxy().build().ok()?;
    let asked = direct.get(format!("http://{metrics}/metrics")).send();
    asked.await.ok()?.text().await.ok()
}

/// One line of what Prometheus reads; 0 if there is none.
fn value(text: &str, series: &str) -> u64 {
    let mut lines = text
        .lines()
        .filter_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    let value = lines.next().and_then(|value| value.parse::<f64>().ok());
    value.map_or(0, |value| value as u64)
}

#[cfg(test)]
mod tests {
    use super::value;

    #[test]
    fn a_counter_is_read_by_its_whole_name() {
        let text = "# HELP a_total A.\na_total_more 7\na_total 3\nb_total{x=\"y\"} 4\n";
        assert_eq!(value(text, "a_total"), 3);
        assert_eq!(value(text, "b_total{x=\"y\"}"), 4);
        assert_eq!(value(text, "c_total"), 0);
    }
}
