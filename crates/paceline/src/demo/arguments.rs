use std::path::PathBuf;

use clap::Args;
use paceline_testkit::{Query, Scale, tpch_queries};

/// What the demo can be told.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The scale factor of the TPC-H tables; 1 is about a gigabyte of raw data. Plans are cut into
    /// stages at smaller scales as they are at 1.
    #[arg(long, default_value = "1")]
    pub(super) scale: Scale,
    /// Where the tables are kept between runs [default: paceline in the user's cache directory].
    #[arg(long, value_name = "DIR")]
    pub(super) data_dir: Option<PathBuf>,
    /// How many schedulers to start.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=16))]
    pub(super) schedulers: u16,
    /// How many executors to start.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(super) executors: u16,
    /// Slots of each executor [default: the cores of this machine, shared among the executors].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    slots: Option<u16>,
    /// How often each query runs measured, after once unmeasured.
    #[arg(
        long,
        default_value_t = 3,
        value_parser = clap::value_parser!(u16).range(1..=100),
        conflicts_with = "chaos"
    )]
    pub(super) runs: u16,
    /// Only these queries, as in 1,6,21.
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u8).range(1..=22))]
    queries: Vec<u8>,
    /// Fail if a bar is missed by more than this factor, which is 1 if none is given. The bars are meant
    /// for scale 1 with 2 executors on 2 cores.
    #[arg(
        long,
        value_name = "FACTOR",
        num_args = 0..=1,
        default_missing_value = "1",
        value_parser = factor,
        conflicts_with = "chaos"
    )]
    pub(super) strict: Option<f64>,
    /// Kill and restart schedulers and executors at random while the queries run, once each.
    #[arg(long)]
    pub(super) chaos: bool,
    /// What chaos is drawn from [default: any].
    #[arg(long, requires = "chaos")]
    seed: Option<u64>,
    /// What the processes log.
    #[arg(long, default_value = "info")]
    pub(super) log_level: String,
}

impl Arguments {
    pub(super) fn selected(&self) -> Vec<Query> {
        let wanted =
            |query: &Query| self.queries.is_empty() || self.queries.contains(&query.number());
        tpch_queries().into_iter().filter(wanted).collect()
    }

    /// The seed of all chaos; any number, if none was given.
    pub(super) fn chaos_seed(&self) -> u64 {
        self.seed
            .unwrap_or_else(|| rand::random_range(0..1_000_000))
    }

    /// Cores of this machine, which both sides share.
    pub(super) fn cores() -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }

    pub(super) fn slots_per_executor(&self) -> usize {
        let shared = Self::cores().div_ceil(usize::from(self.executors));
        self.slots.map_or(shared, usize::from).max(1)
    }
}

/// By how much a bar may be missed.
fn factor(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(factor) if factor > 0.0 && factor.is_finite() => Ok(factor),
        _ => Err("give a number above 0, such as 1.5".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Demo {
        #[command(flatten)]
        arguments: Arguments,
    }

    /// How strict those flags have it be; or what is wrong with them.
    fn strict(flags: &[&str]) -> Result<Option<f64>, String> {
        let typed = [&["demo"][..], flags].concat();
        let parsed = Demo::try_parse_from(typed).map_err(|error| error.to_string())?;
        Ok(parsed.arguments.strict)
    }

    #[test]
    fn by_itself_it_is_what_the_readme_says() {
        let Demo { arguments } = Demo::try_parse_from(["demo"]).unwrap();
        assert_eq!(arguments.scale.factor(), 1.0);
        assert_eq!((arguments.schedulers, arguments.executors), (2, 3));
        assert_eq!(arguments.selected().len(), 22);
        assert!(!arguments.chaos);
    }

    #[test]
    fn it_is_as_strict_as_it_is_told_to_be() {
        assert_eq!(strict(&[]), Ok(None));
        assert_eq!(strict(&["--strict"]), Ok(Some(1.0)));
        assert_eq!(strict(&["--strict", "--executors", "2"]), Ok(Some(1.0)));
        assert_eq!(strict(&["--strict=1.5"]), Ok(Some(1.5)));
        assert_eq!(strict(&["--strict", "0.5"]), Ok(Some(0.5)));
        for nonsense in ["0", "-1", "NaN", "inf", "very"] {
            let refused = strict(&[&format!("--strict={nonsense}")]).unwrap_err();
            assert!(refused.contains("above 0"), "{refused}");
        }
        for figure in ["--strict", "--runs=5"] {
            let refused = strict(&[figure, "--chaos"]).unwrap_err();
            assert!(refused.contains("--chaos"), "{refused}");
        }
    }
}
