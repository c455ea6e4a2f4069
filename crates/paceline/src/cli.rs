//! What can be typed, and where it leads.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

use crate::config::{ForRole, Role, RoleFlags};
use crate::{Failure, command, demo, serve};

/// Paceline: a distributed SQL runtime in which any scheduler may drop off.
#[derive(Parser)]
#[command(
    name = "paceline",
    version,
    propagate_version = true,
    max_term_width = 100
)]
struct Cli {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Generates TPC-H, starts a cluster of real processes, runs the 22 queries and checks them.
    Demo(demo::Arguments),
    /// Serves with a scheduler and an executor in this process.
    Standalone(serve::Arguments<ForStandalone>),
    /// Serves as a scheduler (also: paceline-scheduler).
    Scheduler(serve::Arguments<ForScheduler>),
    /// Serves as an executor (also: paceline-executor).
    Executor(serve::Arguments<ForExecutor>),
    /// Runs statements: of -c, a file, the standard input, or as you type them.
    Sql(command::SqlArguments),
    /// Shows schedulers and executors.
    Status(command::ServerArguments),
    /// Shows the queries that run or ended lately, of all schedulers, the latest first.
    Queries(command::QueriesArguments),
    /// Hands in a statement that runs by itself, and prints the query's id.
    Submit(command::SubmitArguments),
    /// Fetches the result of a query that was handed in with `submit`.
    Results(command::ResultsArguments),
    /// Cancels a query.
    Cancel(command::CancelArguments),
    /// Prints the configuration that a process would use.
    Config(ConfigArguments),
    /// One DataFusion that answers statements of its parent; the demo's yardstick.
    #[command(hide = true)]
    Reference(demo::ReferenceArguments),
}

#[derive(clap::Args)]
struct ConfigArguments {
    /// Only the sections that this role reads.
    #[arg(long, value_enum)]
    role: Option<RoleName>,
    /// The page of the manual about all options instead.
    #[arg(long)]
    markdown: bool,
    #[command(flatten)]
    options: RoleFlags<ForStandalone>,
}

#[derive(Clone, Copy, ValueEnum)]
enum RoleName {
    Scheduler,
    Executor,
    Standalone,
}

macro_rules! for_role {
    ($name:ident, $role:ident) => {
        #[derive(Clone)]
        pub(crate) struct $name;
        impl ForRole for $name {
            const ROLE: Role = Role::$role;
        }
    };
}
for_role!(ForScheduler, Scheduler);
for_role!(ForExecutor, Executor);
for_role!(ForStandalone, Standalone);

/// Does what the arguments ask for, of which the first is the name of the program.
pub fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let cli = Cli::parse_from(by_name(arguments.collect()));
    let outcome = match cli.command {
        Verb::Demo(arguments) => demo::run(arguments),
        Verb::Standalone(arguments) => serve::run(arguments),
        Verb::Scheduler(arguments) => serve::run(arguments),
        Verb::Executor(arguments) => serve::run(arguments),
        Verb::Sql(arguments) => command::sql(arguments),
        Verb::Status(arguments) => command::status(&arguments),
        Verb::Queries(arguments) => command::queries(&arguments),
        Verb::Submit(arguments) => command::submit(&arguments),
        Verb::Results(arguments) => command::results(&arguments),
        Verb::Cancel(arguments) => command::cancel(&arguments),
        Verb::Config(arguments) => config(&arguments),
        Verb::Reference(arguments) => demo::reference(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("paceline: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

/// A link named `paceline-scheduler` stands for `paceline scheduler`.
fn by_name(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let name = arguments
        .first()
        .and_then(|program| Path::new(program).file_name()?.to_str());
    let role = name.and_then(|name| name.strip_prefix("paceline-"));
    if let Some(role @ ("scheduler" | "executor")) = role {
        let role = OsString::from(role);
        arguments.insert(1, role);
    }
    arguments
}

fn config(arguments: &ConfigArguments) -> Result<(), Failure> {
    if arguments.markdown {
        return command::say(crate::markdown().trim_end());
    }
    let role = arguments.role.map(|role| match role {
        RoleName::Scheduler => Role::Scheduler,
        RoleName::Executor => Role::Executor,
        RoleName::Standalone => Role::Standalone,
    });
    let configuration = crate::config::load(
        role.unwrap_or(Role::Standalone),
        arguments.options.config.as_deref(),
        serve::environment(),
        &arguments.options.flags,
    )?;
    command::say(crate::config::toml(&configuration, role).trim_end())
}

#[cfg(test)]
mod documented;

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_link_stands_for_its_role() {
        let of = |name: &str| by_name(vec![name.into(), "--x".into()]);
        assert_eq!(
            of("/bin/paceline-executor"),
            ["/bin/paceline-executor", "executor", "--x"]
        );
        assert_eq!(of("paceline"), ["paceline", "--x"]);
        assert_eq!(of("paceline-else"), ["paceline-else", "--x"]);
    }
}
