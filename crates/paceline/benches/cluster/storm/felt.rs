//! Which faults others have drawn their conclusions from, of those that leave a process alive. A fault
//! that nobody ever notices is a fault in the storm.

use std::fmt;

use paceline_testkit::Role;

use super::forecast::Blow;

/// A process that was struck and lived on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Felt {
    pub(crate) blow: Blow,
    pub(crate) role: Role,
    /// Whether that was noticed before the query's client had its answer.
    pub(crate) felt: bool,
}

/// Kinds that are told apart. A process that is gone needs nobody to notice it.
const BLOWS: [Blow; 4] = [Blow::Freeze, Blow::Cut, Blow::CutOff, Blow::Stall];

/// So many of one kind cannot all have come too late to be felt.
const ENOUGH: usize = 10;

impl Felt {
    /// None of a blow that leaves nobody alive.
    pub(crate) fn of(blow: Blow, role: Role, felt: bool) -> Option<Felt> {
        BLOWS.contains(&blow).then_some(Felt { blow, role, felt })
    }
}

/// How often each kind was felt.
pub(crate) fn figures(all: &[Felt]) -> String {
    let kinds = kinds(all).map(|kind| format!("{kind} {} of {}", kind.felt, kind.struck));
    let kinds: Vec<String> = kinds.collect();
    match kinds.is_empty() {
        true => "none".to_string(),
        false => kinds.join(", "),
    }
}

/// The kinds that were struck often enough and never felt.
pub(crate) fn never(all: &[Felt]) -> Vec<String> {
    let never = kinds(all).filter(|kind| kind.struck >= ENOUGH && kind.felt == 0);
    let never = never.map(|kind| format!("{kind} struck {} times, and never felt", kind.struck));
    never.collect()
}

struct Kind {
    blow: Blow,
    role: Role,
    struck: usize,
    felt: usize,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {}s", self.blow, self.role)
    }
}

/// The kinds that were struck at all.
fn kinds(all: &[Felt]) -> impl Iterator<Item = Kind> {
    let roles = [Role::Scheduler, Role::Executor].into_iter();
    let kinds = roles.flat_map(|role| BLOWS.map(|blow| (blow, role)));
    let count = move |(blow, role): (Blow, Role)| {
        let mine = all.iter().filter(|f| f.blow == blow && f.role == role);
        Kind {
            blow,
            role,
            struck: mine.clone().count(),
            felt: mine.filter(|one| one.felt).count(),
        }
    };
    kinds.map(count).filter(|kind| kind.struck > 0)
}
