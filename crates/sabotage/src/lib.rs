//! Which of its checks a deliberately broken build leaves out.
//!
//! A check that no test misses is as good as none. So the crates that own the most important ones
//! have a feature `sabotage`; a build with it leaves out the check that the environment names, and
//! `checks/sabotage` expects a certain test to notice. No crate enables the feature for another one,
//! by default or for its tests, so nothing that is shipped or tested otherwise holds any of this:
//! `checks/sabotage` looks for the name of the variable in the executable.
//!
//! **Owns**: the names of those checks. **Refuses**: everything else; who leaves out what is in the
//! crate that checks.

use std::sync::OnceLock;

/// The environment variable that names the check to leave out.
pub const VARIABLE: &str = "PACELINE_SABOTAGE";

/// A check that can be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// An executor refuses commands of a lower epoch than it has seen.
    Epoch,
    /// Whose write it was that a create found is told by the write id.
    ReadBack,
    /// What left memory is checked against its checksum when it comes back.
    Checksum,
    /// An adoption counts only once it is claimed.
    Claim,
    /// An adoption without its claim, met in a sealed journal, is settled.
    Unclaimed,
}

impl Check {
    const ALL: [(Check, &'static str); 5] = [
        (Check::Epoch, "epoch"),
        (Check::ReadBack, "read-back"),
        (Check::Checksum, "checksum"),
        (Check::Claim, "claim"),
        (Check::Unclaimed, "unclaimed"),
    ];
}

/// Whether this process leaves out a check.
///
/// # Panics
/// If the environment names no check: a test that expects a failure must not get it by a misspelling
/// that breaks nothing, nor stay green by one.
pub fn leaves_out(check: Check) -> bool {
    static LEFT_OUT: OnceLock<Option<Check>> = OnceLock::new();
    *LEFT_OUT.get_or_init(|| named(std::env::var(VARIABLE).ok().as_deref())) == Some(check)
}

fn named(value: Option<&str>) -> Option<Check> {
    let name = value?;
    let found = Check::ALL.iter().find(|(_, known)| *known == name);
    match found {
        Some((check, _)) => Some(*check),
        None => {
            let known: Vec<_> = Check::ALL.iter().map(|(_, name)| *name).collect();
            panic!("{VARIABLE}={name} names no check; there are {known:?}")
        }
    }
}
