//! What a program does that is another name of `paceline`: it gives its place to the one that lies beside
//! it, so that one executable is built, shipped and loaded for all roles.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// Goes on as `paceline` with that role. It returns only where that cannot be.
pub(crate) fn serve_as(role: &str) -> ExitCode {
    let beside = std::env::current_exe().map(|own| own.with_file_name("paceline"));
    let failure = match beside {
        Ok(paceline) => {
            let mut command = Command::new(&paceline);
            let error = command.arg(role).args(std::env::args_os().skip(1)).exec();
            format!("cannot start {}: {error}", paceline.display())
        }
        Err(error) => format!("cannot find the directory of this program: {error}"),
    };
    eprintln!("paceline-{role}: {failure}");
    ExitCode::FAILURE
}
