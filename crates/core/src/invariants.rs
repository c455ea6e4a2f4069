//! What must be true after every event. Tests ask after each; so does every build with debug
//! assertions.
//!
//! Of the invariants in the design, these concern the life of queries: a query ends in exactly one
//! outcome (a settled one has left admission, and only it); one attempt of a task counts at a time;
//! whatever counts lies on an executor that is attached; nothing is launched without its inputs; what
//! nobody reads is kept nowhere; and the numbers that decisions rest on are what a count would give.

use std::collections::BTreeMap;

use paceline_model::{ExecutorId, QueryId};

use crate::Core;
use crate::action::Action;
use crate::query::{Phase, Query, StageRank, TaskState, inputs_of};

impl Core {
    /// Everything that is not as it must be, in words. Looks at every task; not for production.
    pub fn violations(&self) -> Vec<String> {
        let mut found = Vec::new();
        for query in self.queries.values() {
            let mut wrong = Vec::new();
            check_stages(query, &mut wrong);
            check_tasks(self, query, &mut wrong);
            check_lists(self, query, &mut wrong);
            found.extend(
                wrong
                    .into_iter()
                    .map(|text| format!("{}: {text}", query.id)),
            );
        }
        check_slots(self, &mut found);
        check_involved(self, &mut found);
        check_admission(self, &mut found);
        found
    }

    /// Tells what is still held for queries, if the last one is gone.
    pub(crate) fn tell_left_behind(&mut self) {
        for what in self.left_behind() {
            self.shared.out.tell(Action::LeftBehind { what });
        }
    }

    /// What is still held for queries although there is none any more, in words. It looks at executors
    /// alone, so that it can be asked whenever the last query is gone.
    fn left_behind(&self) -> Vec<String> {
        let mut found = Vec::new();
        if self.queries.is_empty() {
            check_nothing_held(self, &mut found);
        }
        found
    }
}

fn check_stages(query: &Query, wrong: &mut Vec<String>) {
    for stage in query.stages.iter() {
        let id = stage.id;
        let count = |pick: fn(&TaskState) -> bool| {
            let picked = stage.tasks.iter().filter(|task| pick(&task.state));
            picked.count()
        };
        let done = count(|state| matches!(state, TaskState::Finished(_)));
        let running = count(|state| matches!(state, TaskState::Running(_)));
        let ready = count(|state| matches!(state, TaskState::Ready));
        if (done, running, ready)
            != (
                stage.done as usize,
                stage.running as usize,
                stage.ready.len(),
            )
        {
            wrong.push(format!("stage {id} has lost count of its tasks"));
        }
        let inputs = inputs_of(query.graph(), id);
        let missing = inputs
            .iter()
            .filter(|input| !query.stages[input.stage].is_available())
            .count();
        if missing != stage.missing_inputs as usize {
            wrong.push(format!(
                "stage {id} has lost count of its inputs: {missing} are missing"
            ));
        }
        let wanted = stage.consumer.is_none_or(|consumer| {
            let consumer = &query.stages[consumer];
            consumer.wanted && !consumer.is_available()
        });
        if wanted != stage.wanted {
            wrong.push(format!("stage {id} should be wanted: {wanted}"));
        }
    }
}

fn check_tasks(core: &Core, query: &Query, wrong: &mut Vec<String>) {
    for stage in query.stages.iter() {
        for (id, task) in stage.task_ids().zip(&stage.tasks) {
            let place = format!("stage {} task {id}", stage.id);
            if !stage.wanted && !matches!(task.state, TaskState::Idle) {
                wrong.push(format!("{place} is not idle though nobody wants it"));
            }
            if stage.wanted && matches!(task.state, TaskState::Idle) {
                wrong.push(format!("{place} is idle though it is wanted"));
            }
            let Some((executor, attempt)) = task.state.held() else {
                continue;
            };
            if !core.shared.executors.is_attached(executor) {
                wrong.push(format!("{place} counts on {executor}, which is gone"));
            }
            if !query.executors.contains(executor) {
                wrong.push(format!("{place}: {executor} would not be told of the end"));
            }
            if attempt >= task.next {
                wrong.push(format!("{place}: attempt {attempt} was never launched"));
            }
        }
    }
}

fn check_lists(core: &Core, query: &Query, wrong: &mut Vec<String>) {
    let started = query.phase != Phase::Queued;
    let open: Vec<StageRank> = query
        .stages
        .iter()
        .filter(|stage| started && stage.is_open())
        .map(|stage| stage.rank())
        .collect();
    if open.len() != query.open.len() || open.iter().any(|rank| !query.open.contains(rank)) {
        wrong.push("the list of open stages is wrong".to_string());
    }
    let turn = (query.slots, query.turn, query.id);
    if core.turns.contains(&turn) == query.open.is_empty() {
        wrong.push("it has no turn, or one it cannot use".to_string());
    }
    if query.phase == Phase::Ended {
        wrong.push("it ended and is still here".to_string());
    }
    for executor in &query.executors {
        let record = core.shared.executors.get(executor);
        if record.is_some_and(|record| !record.queries.contains(&query.id)) {
            wrong.push(format!("{executor} does not know that it is involved"));
        }
    }
}

fn check_slots(core: &Core, wrong: &mut Vec<String>) {
    let mut by_executor: BTreeMap<&ExecutorId, u32> = BTreeMap::new();
    let mut by_query: BTreeMap<QueryId, u32> = BTreeMap::new();
    for query in core.queries.values() {
        for task in query.stages.iter().flat_map(|stage| &stage.tasks) {
            if let TaskState::Running(run) = &task.state {
                *by_executor.entry(&run.executor).or_default() += run.slots;
                *by_query.entry(query.id).or_default() += run.slots;
            }
        }
    }
    for (id, executor) in core.shared.executors.iter() {
        let slots = by_executor.get(id).copied().unwrap_or(0);
        if slots != executor.committed {
            wrong.push(format!(
                "{id} has {slots} slots taken, not {}",
                executor.committed
            ));
        }
    }
    for (id, query) in &core.queries {
        if by_query.get(id).copied().unwrap_or(0) != query.slots {
            wrong.push(format!("{id} has lost count of its slots"));
        }
    }
}

fn check_involved(core: &Core, wrong: &mut Vec<String>) {
    for (id, executor) in core.shared.executors.iter() {
        let involves = |query: &&QueryId| {
            let query = core.queries.get(query);
            query.is_some_and(|query| query.executors.contains(id))
        };
        for query in executor.queries.iter().filter(|query| !involves(query)) {
            wrong.push(format!("{id} is held for involved in {query}, and is not"));
        }
    }
}

fn check_nothing_held(core: &Core, found: &mut Vec<String>) {
    for (id, executor) in core.shared.executors.iter() {
        let (slots, queries) = (executor.committed, executor.queries.len());
        if slots > 0 || queries > 0 {
            found.push(format!(
                "{id} has {slots} slots taken and would be told of the end of {queries} queries, and \
                 there is no query"
            ));
        }
    }
    check_admission(core, found);
}

fn check_admission(core: &Core, wrong: &mut Vec<String>) {
    let phase = |phase| core.queries.values().filter(|q| q.phase == phase).count();
    if phase(Phase::Running) != core.shared.admission.running() {
        wrong.push("admission has lost count of the running queries".to_string());
    }
    if phase(Phase::Queued) != core.shared.admission.waiting() {
        wrong.push("admission has lost count of the waiting queries".to_string());
    }
    if core.turns.len() > core.queries.len() {
        wrong.push("queries that are gone still get a turn".to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ownership::testing::query;

    #[test]
    fn what_is_held_for_no_query_is_noticed() {
        let mut core = Core::default();
        let [a, b] = ["a", "b"].map(ExecutorId::new);
        for id in [&a, &b] {
            let (address, zone) = (String::new(), String::new());
            let executors = &mut core.shared.executors;
            executors.attach(id.clone(), address, zone, 4, false);
        }
        assert_eq!(core.left_behind(), [""; 0]);
        core.shared.executors.occupy(&a, 2);
        core.shared.executors.involve(&b, query(1));
        let left = core.left_behind();
        assert_eq!(left.len(), 2, "{left:?}");
        assert!(left[0].starts_with("a has 2 slots"), "{left:?}");
        assert!(left[1].contains("1 queries"), "{left:?}");
        core.shared.admission.enter_at_once();
        assert_eq!(core.left_behind().len(), 3);
    }

    /// With debug assertions a core that has lost count does not get so far.
    #[cfg(not(debug_assertions))]
    mod without_assertions {
        use std::sync::Arc;

        use paceline_model::{Epoch, ExchangeKind, Stage, StageGraph, StageId};

        use super::*;
        use crate::{Event, Now};

        #[test]
        fn what_the_last_query_leaves_is_told() {
            let mut core = Core::default();
            let executor = ExecutorId::new("a");
            core.handle(
                Event::ExecutorAttached {
                    executor: executor.clone(),
                    address: String::new(),
                    zone: String::new(),
                    slots: 4,
                    draining: false,
                    held: vec![],
                },
                Now::default(),
            );
            core.shared.executors.occupy(&executor, 2);
            let told = |actions: Vec<Action>| {
                let told = |action: &Action| matches!(action, Action::LeftBehind { .. });
                actions.iter().filter(|action| told(action)).count()
            };
            assert_eq!(
                told(core.handle(Event::Tick, Now::default())),
                0,
                "no query"
            );
            let one = Stage {
                id: StageId(0),
                plan: Arc::from(&b""[..]),
                partitions: 1,
                divisible: true,
                exchange: ExchangeKind::Forward,
                inputs: vec![],
                deterministic: true,
                scan_bytes: 0,
                text: Arc::from(""),
            };
            let submit = Event::Submit {
                query: query(1),
                graph: Arc::new(StageGraph::new(vec![one]).unwrap()),
                epoch: Epoch(0),
                deadline: None,
                promised: false,
            };
            assert_eq!(told(core.handle(submit, Now::default())), 0, "it runs");
            let cancel = Event::Cancel { query: query(1) };
            assert_eq!(told(core.handle(cancel, Now::default())), 1);
            assert_eq!(told(core.handle(Event::Tick, Now::default())), 0, "once");
        }
    }
}
