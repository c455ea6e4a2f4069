//! `paceline executor` under a name of its own: gives its place to the `paceline` that lies beside it,
//! so that one executable is built, shipped and loaded for all roles.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let beside = std::env::current_exe().map(|own| own.with_file_name("paceline"));
    let failure = match beside {
        Ok(paceline) => {
            let mut command = Command::new(&paceline);
            let error = command
                .arg("executor")
                .args(std::env::args_os().skip(1))
                .exec();
            format!("cannot start {}: {error}", paceline.display())
        }
        Err(error) => format!("cannot find the directory of this program: {error}"),
    };
    eprintln!("paceline-executor: {failure}");
    ExitCode::FAILURE
}
