//! What the comparison comes to: a few figures, each beside its bar.
//!
//! The bars are meant for scale 1 with two executors on two cores. A figure beyond its bar is shown and
//! fails nothing, because a machine may be busy, unless the demo was told to be strict.

use std::time::Duration;

use paceline_testkit::{Node, peak_memory};

use super::latency::Latency;
use super::runs::Row;
use super::stage::Stage;
use crate::Failure;

/// The time of all queries together, as a multiple of one process's.
const TOTAL: f64 = 1.4;
/// The same of the query that is furthest behind one process.
const WORST: f64 = 2.5;
/// The most memory that the executors together held, as a multiple of one process's.
const MEMORY: f64 = 1.5;
/// The median of a tiny query, in milliseconds.
const TINY: f64 = 5.0;

/// How many there are.
const BARS: usize = 4;

const TIMES: &str = "×";
const MILLISECONDS: &str = "ms";

/// What [`Figure::cells`] are.
pub(super) const COLUMNS: [&str; 4] = ["figure", "here", "bar", "verdict"];

/// The most memory that the processes held, in bytes.
pub(super) struct Memory {
    pub(super) executors: u64,
    pub(super) schedulers: u64,
    pub(super) alone: u64,
}

impl Memory {
    /// None where the system does not say.
    pub(super) fn of(stage: &Stage) -> Option<Memory> {
        let sum = |nodes: &[Node]| nodes.iter().map(Node::peak_memory).sum::<Option<u64>>();
        Some(Memory {
            executors: sum(stage.cluster.executors())?,
            schedulers: sum(stage.cluster.schedulers())?,
            alone: stage.reference.id().and_then(peak_memory)?,
        })
    }
}

/// A number, and what it is to be at most.
pub(super) struct Figure {
    name: String,
    here: f64,
    bar: f64,
    unit: &'static str,
}

impl Figure {
    /// A row of the table with [`COLUMNS`].
    pub(super) fn cells(&self) -> [String; 4] {
        let verdict = match self.meets_bar(1.0) {
            true => "met",
            false => "missed",
        };
        [
            self.name.clone(),
            self.with_unit(self.here),
            self.with_unit(self.bar),
            verdict.to_string(),
        ]
    }

    /// Whether it is at most so many times its bar.
    fn meets_bar(&self, factor: f64) -> bool {
        self.here <= self.bar * factor
    }

    fn with_unit(&self, number: f64) -> String {
        format!("{number:.2} {}", self.unit)
    }
}

/// Fails if a figure is beyond its bar by more than that factor, or is missing.
pub(super) fn insist(figures: &[Figure], factor: f64) -> Result<(), Failure> {
    let missed = figures.iter().filter(|figure| !figure.meets_bar(factor));
    let mut problems: Vec<String> = missed
        .map(|figure| {
            let [name, here, bar, _] = figure.cells();
            format!("{name}: {here} instead of {bar}")
        })
        .collect();
    if let missing @ 1.. = BARS.saturating_sub(figures.len()) {
        problems.push(format!("{missing} of {BARS} figures are not known here"));
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(Failure::new(format!(
            "bars were missed, by more than a factor of {factor}:\n  {}",
            problems.join("\n  ")
        ))),
    }
}

/// Every figure that there is something to make of.
pub(super) fn figures(rows: &[Row], memory: Option<&Memory>, latency: &Latency) -> Vec<Figure> {
    let tiny = Figure {
        name: format!("median of {} tiny queries", latency.runs),
        here: latency.median.as_secs_f64() * 1e3,
        bar: TINY,
        unit: MILLISECONDS,
    };
    [
        total(rows),
        worst(rows),
        memory.and_then(executors),
        Some(tiny),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn total(rows: &[Row]) -> Option<Figure> {
    let here: Duration = rows.iter().map(|row| row.here).sum();
    let alone: Duration = rows.iter().map(|row| row.alone).sum();
    let ratio = ratio(here.as_secs_f64(), alone.as_secs_f64())?;
    let name = "all queries, against one process";
    Some(multiple(name.to_string(), ratio, TOTAL))
}

fn worst(rows: &[Row]) -> Option<Figure> {
    let of = |row: &Row| ratio(row.here.as_secs_f64(), row.alone.as_secs_f64());
    let ratios = rows.iter().filter_map(|row| Some((row.query, of(row)?)));
    let (query, ratio) = ratios.max_by(|left, right| left.1.total_cmp(&right.1))?;
    let name = format!("worst query, {query}, against one process");
    Some(multiple(name, ratio, WORST))
}

fn executors(memory: &Memory) -> Option<Figure> {
    let ratio = ratio(memory.executors as f64, memory.alone as f64)?;
    let name = "peak memory of the executors, against one process";
    Some(multiple(name.to_string(), ratio, MEMORY))
}

fn multiple(name: String, here: f64, bar: f64) -> Figure {
    Figure {
        name,
        here,
        bar,
        unit: TIMES,
    }
}

/// How many times one process's share it is; none where that is nothing.
pub(super) fn ratio(here: f64, alone: f64) -> Option<f64> {
    (alone > 0.0).then_some(here / alone)
}

#[cfg(test)]
mod tests {
    use paceline_testkit::tpch_queries;

    use super::*;

    fn row(number: usize, here: u64, alone: u64) -> Row {
        let mut row = Row::of(tpch_queries()[number - 1], 1);
        row.here = Duration::from_millis(here);
        row.alone = Duration::from_millis(alone);
        row
    }

    fn latency(median: Duration) -> Latency {
        Latency {
            median,
            slowest: median * 3,
            runs: 200,
        }
    }

    fn some() -> Vec<Figure> {
        // The last one failed, and says nothing.
        let rows = [
            row(1, 100, 100),
            row(17, 500, 200),
            row(22, 60, 100),
            row(5, 0, 0),
        ];
        let memory = Memory {
            executors: 320,
            schedulers: 9,
            alone: 200,
        };
        let tiny = latency(Duration::from_micros(4500));
        figures(&rows, Some(&memory), &tiny)
    }

    #[test]
    fn every_figure_stands_beside_its_bar() {
        let figures = some();
        let told: Vec<[String; 4]> = figures.iter().map(Figure::cells).collect();
        let expected = [
            [
                "all queries, against one process",
                "1.65 ×",
                "1.40 ×",
                "missed",
            ],
            [
                "worst query, Q17, against one process",
                "2.50 ×",
                "2.50 ×",
                "met",
            ],
            [
                "peak memory of the executors, against one process",
                "1.60 ×",
                "1.50 ×",
                "missed",
            ],
            ["median of 200 tiny queries", "4.50 ms", "5.00 ms", "met"],
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn what_nothing_is_known_of_has_no_figure() {
        let figures = figures(&[row(1, 5, 0)], None, &latency(Duration::from_millis(6)));
        let told: Vec<[String; 4]> = figures.iter().map(Figure::cells).collect();
        let expected = [["median of 200 tiny queries", "6.00 ms", "5.00 ms", "missed"]];
        assert_eq!(told, expected);
    }

    #[test]
    fn whoever_insists_is_told_which_bars_were_missed() {
        let said = |figures: &[Figure], factor| {
            let judged = insist(figures, factor);
            judged.map_or_else(|failure| failure.to_string(), |()| String::new())
        };
        let all = said(&some(), 1.0);
        for missed in [
            "all queries, against one process: 1.65 × instead of 1.40 ×",
            "peak memory of the executors, against one process: 1.60 × instead of 1.50 ×",
        ] {
            assert!(all.contains(missed), "{all}");
        }
        assert_eq!(all.matches("instead of").count(), 2, "{all}");
        // 1.65 is 1.18 times its bar, and 1.6 is 1.07 times its own.
        let one = said(&some(), 1.1);
        assert!(one.contains("1.65 ×") && !one.contains("1.60 ×"), "{one}");
        assert!(one.contains("a factor of 1.1"), "{one}");
        assert_eq!(said(&some(), 1.2), "");
        assert_eq!(said(&some(), 0.5).matches("instead of").count(), 4);
        let unknown = said(&some()[..3], 1.2);
        assert!(unknown.contains("1 of 4 figures"), "{unknown}");
    }
}
