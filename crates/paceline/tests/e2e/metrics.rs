//! What processes say of themselves in metrics.

use crate::support::{Running, text_of};

/// All that a process says at one time.
pub(crate) struct Metrics(String);

impl Metrics {
    /// Asks a process at `host:port`.
    pub(crate) async fn of(address: &str) -> Metrics {
        Metrics(text_of(&format!("http://{address}/metrics")).await)
    }

    /// The sum of a metric over its labels.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        self.labelled(name, "")
    }

    /// The sum of those values of a metric whose labels contain `label`.
    pub(crate) fn labelled(&self, name: &str, label: &str) -> f64 {
        let series = self.0.lines().filter_map(|line| line.strip_prefix(name));
        let mine = series.filter(|rest| rest.starts_with([' ', '{']) && rest.contains(label));
        mine.filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }
}

impl Running {
    /// The sum of a metric over its labels, at `host:port`.
    pub(crate) async fn metric(address: &str, name: &str) -> f64 {
        Metrics::of(address).await.sum(name)
    }

    /// The sum of those values of a metric at `host:port` whose labels contain `label`.
    pub(crate) async fn labelled(address: &str, name: &str, label: &str) -> f64 {
        Metrics::of(address).await.labelled(name, label)
    }
}

/// The sum of a scheduler's metric over its labels.
pub(crate) async fn metric(running: &Running, scheduler: usize, name: &str) -> f64 {
    labelled(running, scheduler, name, "").await
}

/// The sum of those values of a scheduler's metric whose labels contain `label`.
pub(crate) async fn labelled(running: &Running, scheduler: usize, name: &str, label: &str) -> f64 {
    let address = running.cluster.schedulers()[scheduler].past_doors().metrics;
    Running::labelled(&address, name, label).await
}

/// The sum of an executor's metric over all that are up.
pub(crate) async fn of_executors(running: &Running, name: &str) -> f64 {
    labelled_of_executors(running, name, "").await
}

/// The same of those values whose labels contain `label`.
pub(crate) async fn labelled_of_executors(running: &Running, name: &str, label: &str) -> f64 {
    let mut sum = 0.0;
    for node in running.cluster.executors() {
        if node.is_up() {
            sum += Running::labelled(&node.past_doors().metrics, name, label).await;
        }
    }
    sum
}

/// The sum of a scheduler's metric over all that are up.
pub(crate) async fn of_schedulers(running: &Running, name: &str) -> f64 {
    let mut sum = 0.0;
    for (scheduler, node) in running.cluster.schedulers().iter().enumerate() {
        if node.is_up() {
            sum += metric(running, scheduler, name).await;
        }
    }
    sum
}
