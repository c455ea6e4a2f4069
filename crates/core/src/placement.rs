//! Where a task goes: to the most of the bytes it reads, among those that can begin with it; else to the
//! least loaded.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use paceline_model::ExecutorId;

use crate::executors::{Executor, Executors};

/// What matters for placing one task.
#[derive(Debug)]
pub(crate) struct Wish<'a> {
    /// How many partitions it takes.
    pub(crate) partitions: u32,
    /// The executor on which it just failed: taken only if there is no other.
    pub(crate) avoid: Option<&'a ExecutorId>,
    /// Bytes of its input that lie on each executor. Empty if they lie everywhere alike.
    pub(crate) bytes: BTreeMap<ExecutorId, u64>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Placement {
    /// This one, where the task occupies so many slots.
    On(ExecutorId, u32),
    /// Only the executor to be avoided has room: this task waits, others need not.
    OnlyAvoided,
    /// All are full.
    NoRoom,
}

/// Chooses an executor for one task.
pub(crate) fn place(executors: &Executors, queue_depth: Option<u32>, wish: &Wish) -> Placement {
    // Whoever is the only one cannot be avoided.
    let avoid = wish.avoid.filter(|_| executors.accepting() > 1);
    let others = move || {
        let accepting = executors.accepting_iter();
        accepting.filter(move |&(id, _)| Some(id) != avoid)
    };
    // Ids ascend, and of equals the last is the maximum: hence the reversals.
    let nearest = others()
        .filter(|(_, executor)| i64::from(executor.slots_for(wish.partitions)) <= executor.free())
        .filter_map(|(id, executor)| Some((*wish.bytes.get(id)?, id, executor)))
        .max_by_key(|&(bytes, id, executor)| (bytes, executor.free(), Reverse(id)));
    if let Some((_, id, executor)) = nearest {
        return Placement::On(id.clone(), executor.slots_for(wish.partitions));
    }
    let has_room =
        |executor: &Executor| executor.has_room(executor.slots_for(wish.partitions), queue_depth);
    let roomiest = others()
        .filter(|(_, executor)| has_room(executor))
        .max_by_key(|&(id, executor)| (executor.free(), Reverse(id)));
    if let Some((id, executor)) = roomiest {
        return Placement::On(id.clone(), executor.slots_for(wish.partitions));
    }
    match avoid.and_then(|id| executors.get(id)) {
        Some(executor) if !executor.draining && has_room(executor) => Placement::OnlyAvoided,
        _ => Placement::NoRoom,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> ExecutorId {
        ExecutorId::new(name)
    }

    fn pool(slots: &[(&str, u32)]) -> Executors {
        let mut executors = Executors::default();
        for &(name, slots) in slots {
            executors.attach(id(name), String::new(), String::new(), slots, false);
        }
        executors
    }

    fn wish(partitions: u32) -> Wish<'static> {
        Wish {
            partitions,
            avoid: None,
            bytes: BTreeMap::new(),
        }
    }

    #[test]
    fn the_least_loaded_is_taken_and_ties_go_by_id() {
        let mut executors = pool(&[("a", 4), ("b", 4), ("c", 4)]);
        assert_eq!(place(&executors, None, &wish(2)), Placement::On(id("a"), 2));
        executors.occupy(&id("a"), 2);
        executors.report_load(&id("b"), 1);
        assert_eq!(place(&executors, None, &wish(2)), Placement::On(id("c"), 2));
    }

    #[test]
    fn a_task_never_takes_more_slots_than_the_executor_has() {
        let executors = pool(&[("a", 4)]);
        assert_eq!(
            place(&executors, None, &wish(2000)),
            Placement::On(id("a"), 4)
        );
    }

    #[test]
    fn bytes_attract_while_there_are_free_slots() {
        let mut executors = pool(&[("a", 4), ("b", 4)]);
        let near = |executors: &Executors| {
            let bytes = BTreeMap::from([(id("a"), 5), (id("b"), 70)]);
            let wish = Wish { bytes, ..wish(3) };
            place(executors, None, &wish)
        };
        assert_eq!(near(&executors), Placement::On(id("b"), 3));
        executors.occupy(&id("b"), 2);
        assert_eq!(near(&executors), Placement::On(id("a"), 3));
    }

    #[test]
    fn of_those_who_hold_as_much_the_least_loaded_is_taken() {
        let mut executors = pool(&[("a", 4), ("b", 4), ("c", 4)]);
        let near = |executors: &Executors| {
            let bytes = BTreeMap::from([(id("a"), 50), (id("b"), 50)]);
            let wish = Wish { bytes, ..wish(1) };
            place(executors, None, &wish)
        };
        assert_eq!(near(&executors), Placement::On(id("a"), 1));
        executors.occupy(&id("a"), 1);
        assert_eq!(near(&executors), Placement::On(id("b"), 1));
        executors.report_load(&id("b"), 2);
        assert_eq!(near(&executors), Placement::On(id("a"), 1));
    }

    #[test]
    fn a_holder_with_room_goes_before_one_that_holds_nothing() {
        let mut executors = pool(&[("a", 2), ("b", 4), ("c", 4)]);
        let near = |executors: &Executors| {
            let bytes = BTreeMap::from([(id("a"), 70), (id("b"), 20)]);
            let wish = Wish { bytes, ..wish(2) };
            place(executors, None, &wish)
        };
        executors.occupy(&id("a"), 1);
        executors.occupy(&id("b"), 1);
        assert_eq!(near(&executors), Placement::On(id("b"), 2));
        executors.occupy(&id("b"), 2);
        assert_eq!(near(&executors), Placement::On(id("c"), 2));
    }

    #[test]
    fn one_short_queue_is_filled_and_no_more() {
        let mut executors = pool(&[("a", 2)]);
        executors.occupy(&id("a"), 2);
        assert_eq!(place(&executors, None, &wish(2)), Placement::On(id("a"), 2));
        assert_eq!(place(&executors, Some(1), &wish(2)), Placement::NoRoom);
        executors.occupy(&id("a"), 2);
        assert_eq!(place(&executors, None, &wish(1)), Placement::NoRoom);
    }

    #[test]
    fn the_executor_that_just_failed_is_avoided_if_there_is_another() {
        let mut executors = pool(&[("a", 2), ("b", 2)]);
        let a = id("a");
        let away = |executors: &Executors| {
            let wish = Wish {
                avoid: Some(&a),
                ..wish(2)
            };
            place(executors, Some(0), &wish)
        };
        assert_eq!(away(&executors), Placement::On(id("b"), 2));
        executors.occupy(&id("b"), 1);
        assert_eq!(away(&executors), Placement::OnlyAvoided);
        executors.drain(&id("b"));
        assert_eq!(away(&executors), Placement::On(id("a"), 2));
    }

    #[test]
    fn who_drains_gets_nothing() {
        let mut executors = pool(&[("a", 2)]);
        executors.drain(&id("a"));
        assert_eq!(place(&executors, None, &wish(1)), Placement::NoRoom);
    }
}
