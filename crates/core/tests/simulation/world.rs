//! One scheduler's core, executors that may fail, and the messages between them.

use std::collections::BTreeMap;
use std::sync::Arc;

use paceline_core::{
    Action, AttemptRef, AttemptState, Core, Counters, Event, KnownOutput, KnownStage, KnownTask,
    Now, Options, Outcome, StageOutputs,
};
use paceline_model::{
    Attempt, Epoch, ErrorClass, ExecutorId, LostOutput, OutputId, OutputLocation, OutputSummary,
    PartitionRange, QueryError, QueryId, StageGraph, StageId,
};

use crate::checks::{Ledger, check_complete};
use crate::executor::{Executor, Kept, Lineage, Report, Run, output_id};
use crate::rng::Rng;

/// What a journal would know of a query.
#[derive(Clone)]
pub(crate) enum Record {
    Formed(StageId, Vec<PartitionRange>, Attempt),
    Finished(StageId, StageOutputs),
}

pub(crate) struct Client {
    pub(crate) graph: Arc<StageGraph>,
    pub(crate) epoch: Epoch,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) result: Option<StageOutputs>,
    pub(crate) gone: bool,
    pub(crate) cancelled: bool,
    pub(crate) has_deadline: bool,
    pub(crate) released: bool,
    pub(crate) journal: Vec<Record>,
}

impl Client {
    fn is_unread(&self) -> bool {
        let finished = matches!(self.outcome, Some(Outcome::Finished { .. }));
        finished && !self.gone && !self.released
    }
}

pub(crate) struct World {
    pub(crate) rng: Rng,
    pub(crate) core: Core,
    pub(crate) now: Now,
    pub(crate) wake: Option<Now>,
    pub(crate) executors: BTreeMap<ExecutorId, Executor>,
    /// Reports on their way, in no order.
    pub(crate) reports: Vec<(ExecutorId, Report)>,
    pub(crate) clients: BTreeMap<QueryId, Client>,
    pub(crate) graphs: BTreeMap<QueryId, Arc<StageGraph>>,
    pub(crate) ledger: Ledger,
    /// Whether things go wrong.
    pub(crate) faults: bool,
    pub(crate) user_errors: bool,
    pub(crate) options: Options,
    nonces: u64,
    /// Results that came back within reports and answers, to the scheduler that there is.
    inline: BTreeMap<OutputId, Kept>,
    /// Counters of cores that are gone.
    pub(crate) past: Counters,
    pub(crate) result_changes: u64,
    pub(crate) actions: u64,
    /// Every action in words, if somebody wants to compare.
    pub(crate) trace: Option<Vec<String>>,
}

impl World {
    pub(crate) fn new(seed: u64, options: Options) -> Self {
        World {
            rng: Rng::new(seed),
            core: Core::new(options.clone()),
            now: Now::default(),
            wake: None,
            executors: BTreeMap::new(),
            reports: Vec::new(),
            clients: BTreeMap::new(),
            graphs: BTreeMap::new(),
            ledger: Ledger::default(),
            faults: true,
            user_errors: false,
            options,
            nonces: 0,
            inline: BTreeMap::new(),
            past: Counters::default(),
            result_changes: 0,
            actions: 0,
            trace: None,
        }
    }

    /// Tells the core of an event and carries its actions to where they belong.
    pub(crate) fn tell(&mut self, event: Event) {
        self.ledger.told(&event);
        let actions = self.core.handle(event, self.now);
        let violations = self.core.violations();
        assert!(violations.is_empty(), "{violations:#?}");
        let mut launches = std::collections::BTreeSet::new();
        for action in actions {
            self.actions += 1;
            if let Some(trace) = &mut self.trace {
                trace.push(format!("{action:?}"));
            }
            self.ledger.done(&action, &self.graphs);
            if let Action::Launch {
                executor,
                query,
                stage,
                ..
            } = &action
            {
                let first = launches.insert((executor.clone(), *query, *stage));
                assert!(first, "two launches of one stage to one executor");
            }
            self.carry(action);
        }
    }

    fn carry(&mut self, action: Action) {
        match action {
            Action::Launch { ref executor, .. }
            | Action::AnnounceOwner { ref executor, .. }
            | Action::CancelAttempts { ref executor, .. }
            | Action::ReleaseOutputs { ref executor, .. }
            | Action::EndQuery { ref executor, .. } => {
                let executor = self.executors.get_mut(executor).unwrap();
                if executor.alive && executor.attached {
                    executor.inbox.push_back(action);
                }
            }
            Action::StageFormed {
                query,
                stage,
                tasks,
                floor,
            } => {
                let journal = &mut self.clients.get_mut(&query).unwrap().journal;
                journal.push(Record::Formed(stage, tasks, floor));
            }
            Action::StageFinished {
                query,
                stage,
                outputs,
            } => {
                check_complete(
                    self.graphs[&query].stage(stage).unwrap(),
                    &outputs.locations,
                );
                let journal = &mut self.clients.get_mut(&query).unwrap().journal;
                journal.push(Record::Finished(stage, outputs));
            }
            Action::Settled { query, outcome, .. } => {
                let client = self.clients.get_mut(&query).unwrap();
                assert!(client.outcome.is_none(), "settled twice");
                if let Outcome::Finished { result } = &outcome {
                    client.result = Some(result.clone());
                }
                client.outcome = Some(outcome);
            }
            Action::ResultChanged { query, result, .. } => {
                self.result_changes += 1;
                let client = self.clients.get_mut(&query).unwrap();
                assert!(matches!(client.outcome, Some(Outcome::Finished { .. })));
                client.result = Some(result);
            }
            Action::ResultGone { query, .. } => {
                let client = self.clients.get_mut(&query).unwrap();
                assert!(matches!(client.outcome, Some(Outcome::Finished { .. })));
                client.gone = true;
            }
            Action::LeftBehind { what } => panic!("{what}"),
            Action::WakeAt(at) => self.wake = Some(at),
        }
    }

    /// An executor opens a stream: what was on its way in the former one is lost.
    pub(crate) fn attach(&mut self, id: &ExecutorId) {
        let executor = self.executors.get_mut(id).unwrap();
        executor.attached = true;
        executor.inbox.clear();
        let event = Event::ExecutorAttached {
            executor: id.clone(),
            address: format!("{id}:50052"),
            zone: String::new(),
            slots: executor.slots,
            draining: executor.draining,
            held: executor.inventory(),
        };
        let again = executor.unacknowledged.clone();
        self.tell(event);
        for report in again {
            if self.obeys(id, report.id.query) {
                self.reports.push((id.clone(), report));
            }
        }
    }

    /// Whether the executor takes the scheduler for the owner. If not, it tells it nothing.
    fn obeys(&self, id: &ExecutorId, query: QueryId) -> bool {
        let epoch = self.executors[id].epoch(query);
        epoch.is_none_or(|epoch| epoch == self.clients[&query].epoch)
    }

    /// A command reaches its executor.
    pub(crate) fn deliver_command(&mut self, id: &ExecutorId) {
        let executor = self.executors.get_mut(id).unwrap();
        if !executor.alive || !executor.attached {
            executor.inbox.clear();
            return;
        }
        let Some(query) = executor.inbox.front().and_then(commanded) else {
            return;
        };
        let before = executor.epoch(query);
        let reports = executor.obey();
        let after = executor.epoch(query);
        for report in reports {
            self.send(id, report);
        }
        if before.is_some() && before < after {
            self.tell_new_owner(id, query);
        }
    }

    /// A new owner is told everything: its predecessor may have been told it.
    fn tell_new_owner(&mut self, id: &ExecutorId, query: QueryId) {
        let executor = &self.executors[id];
        let again = executor.unacknowledged.iter();
        let again = again.filter(|report| report.id.query == query).cloned();
        let again: Vec<_> = again.map(|report| (id.clone(), report)).collect();
        self.reports.extend(again);
        if let Some((held, results)) = executor.answer(query) {
            self.inline.extend(results);
            let executor = id.clone();
            self.tell(Event::Held { executor, held });
        }
    }

    fn send(&mut self, id: &ExecutorId, report: Report) {
        let executor = self.executors.get_mut(id).unwrap();
        executor.unacknowledged.push(report.clone());
        if executor.attached && self.obeys(id, report.id.query) {
            self.reports.push((id.clone(), report));
        }
    }

    /// A report reaches the scheduler, any of those on their way; perhaps not for the last time.
    pub(crate) fn deliver_report(&mut self) {
        if self.reports.is_empty() {
            return;
        }
        let nth = self.rng.below(self.reports.len());
        let (id, report) = self.reports.swap_remove(nth);
        if self.faults && self.rng.one_in(10) {
            self.reports.push((id.clone(), report.clone()));
        }
        let executor = self.executors.get_mut(&id).unwrap();
        let acknowledged = |kept: &Report| {
            kept.id == report.id
                && std::mem::discriminant(&kept.state) == std::mem::discriminant(&report.state)
        };
        if !self.faults || !self.rng.one_in(5) {
            executor.unacknowledged.retain(|kept| !acknowledged(kept));
        }
        if let Some(kept) = report.inline {
            self.inline.insert(report.id, kept);
        }
        self.tell(Event::TaskReport {
            executor: id,
            id: report.id,
            epoch: report.epoch,
            state: report.state,
        });
    }

    /// One attempt on that executor gets to its end, or tells how far it is.
    pub(crate) fn work(&mut self, id: &ExecutorId) {
        let executor = &self.executors[id];
        if !executor.alive {
            return;
        }
        let running: Vec<(QueryId, AttemptRef)> = executor
            .queries
            .iter()
            .flat_map(|(&query, share)| share.running.keys().map(move |&id| (query, id)))
            .collect();
        let Some(&(query, attempt)) = self.rng.pick(&running) else {
            return;
        };
        let share = &self.executors[id].queries[&query];
        let (epoch, run) = (share.epoch, share.running[&attempt].clone());
        let (state, inline) = if self.rng.one_in(8) {
            (AttemptState::Running { rows: 1, bytes: 8 }, None)
        } else {
            let share = self.executors.get_mut(id).unwrap().queries.get_mut(&query);
            share.unwrap().running.remove(&attempt);
            self.finish(id, query, attempt, &run)
        };
        let report = Report {
            id: output_id(query, attempt),
            epoch,
            state,
            inline,
        };
        self.send(id, report);
    }

    fn finish(
        &mut self,
        id: &ExecutorId,
        query: QueryId,
        attempt: AttemptRef,
        run: &Run,
    ) -> (AttemptState, Option<Kept>) {
        if let Some(failure) = self.random_failure() {
            return (failure, None);
        }
        let mut lineage = Lineage::new();
        let graph = Arc::clone(&self.graphs[&query]);
        for (producer, locations) in &run.inputs {
            let input = graph.stage(attempt.stage).unwrap().inputs.iter();
            let whole = input.clone().find(|i| i.stage == *producer).unwrap().whole;
            for location in locations.iter() {
                let hash = matches!(
                    graph.stage(*producer).unwrap().exchange,
                    paceline_model::ExchangeKind::Hash { .. }
                );
                let mut mine = run.launch.partitions.iter();
                if !whole && !hash && !mine.any(|p| location.partitions.contains(p)) {
                    continue;
                }
                match self.read(query, *producer, location) {
                    Ok(kept) => merge(&mut lineage, &kept.lineage),
                    Err(lost) => {
                        let error = QueryError::output_lost(lost, "cannot read");
                        return (AttemptState::Failed(error), None);
                    }
                }
            }
        }
        if !graph.stage(attempt.stage).unwrap().deterministic {
            self.nonces += 1;
            lineage.insert((attempt.stage, attempt.task), self.nonces);
        }
        let root = graph.root().id == attempt.stage;
        let inline = root && self.rng.one_in(3);
        let summary = OutputSummary {
            rows: 1,
            bytes: u64::from(run.launch.partitions.count),
            partition_bytes: vec![1; run.launch.partitions.count as usize],
            disk_bytes: 0,
        };
        let kept = Kept {
            lineage,
            summary: summary.clone(),
        };
        let share = self.executors.get_mut(id).unwrap().queries.get_mut(&query);
        let share = share.unwrap();
        let state = AttemptState::Finished { summary, inline };
        if inline {
            share.copies.insert(attempt, kept.clone());
            (state, Some(kept))
        } else {
            share.outputs.insert(attempt, kept);
            (state, None)
        }
    }

    fn random_failure(&mut self) -> Option<AttemptState> {
        if !self.faults {
            return None;
        }
        let class = match self.rng.below(60) {
            0 => ErrorClass::Retryable,
            1 => ErrorClass::Resource,
            2 => return Some(AttemptState::Cancelled),
            3 if self.user_errors => ErrorClass::User,
            _ => return None,
        };
        Some(AttemptState::Failed(QueryError::new(class, "injected")))
    }

    /// Reads one output, wherever it lies.
    pub(crate) fn read(
        &mut self,
        query: QueryId,
        stage: StageId,
        location: &OutputLocation,
    ) -> Result<Kept, LostOutput> {
        let holder = &self.executors[&location.executor];
        let what = AttemptRef {
            stage,
            task: location.task,
            attempt: location.attempt,
        };
        if let Some(kept) = self.inline.get(&output_id(query, what)) {
            return Ok(kept.clone());
        }
        let cut_off = self.faults && self.rng.one_in(100);
        let lost = |unreachable| LostOutput {
            stage,
            task: location.task,
            attempt: location.attempt,
            executor: location.executor.clone(),
            unreachable,
        };
        if !holder.alive || cut_off {
            return Err(lost(true));
        }
        holder.kept(query, what).cloned().ok_or(lost(false))
    }

    /// A client reads a result; if it cannot, it says so. Returns whether it could.
    pub(crate) fn read_result(&mut self, query: QueryId) -> bool {
        let client = &self.clients[&query];
        let Some(result) = client.result.clone().filter(|_| !client.gone) else {
            return false;
        };
        let root = client.graph.root().id;
        let mut lineage = Lineage::new();
        let mut lost = Vec::new();
        for (location, summary) in result.locations.iter().zip(&result.summaries) {
            assert!(summary.rows > 0);
            match self.read(query, root, location) {
                Ok(kept) => merge(&mut lineage, &kept.lineage),
                Err(missing) => lost.push(missing),
            }
        }
        if lost.is_empty() {
            return true;
        }
        self.tell(Event::ResultLost { query, lost });
        false
    }

    /// Another scheduler takes over with what the journal tells, the latest records perhaps missing.
    /// Executors that are attached answer its question; if all schedulers died none may be.
    pub(crate) fn take_over(&mut self) {
        if self.rng.one_in(3) {
            for executor in self.executors.values_mut() {
                executor.attached = false;
                executor.inbox.clear();
            }
        }
        add(&mut self.past, self.core.counters());
        self.core = Core::new(self.options.clone());
        self.ledger.taken_over();
        self.reports.clear();
        self.inline.clear();
        self.wake = None;
        let attached: Vec<ExecutorId> = self
            .executors
            .values()
            .filter(|e| e.alive && e.attached)
            .map(|e| e.id.clone())
            .collect();
        for id in &attached {
            self.attach(id);
        }
        let queries: Vec<QueryId> = self.clients.keys().copied().collect();
        for query in queries {
            let client = self.clients.get_mut(&query).unwrap();
            client.epoch = client.epoch.next();
            if client.outcome.is_some() {
                // A journal holds one that has finished until somebody has read the result.
                if !client.is_unread() || self.rng.one_in(2) {
                    self.forget(query);
                    continue;
                }
                client.outcome = None;
                client.result = None;
            }
            let known = client.journal.len();
            client
                .journal
                .truncate(known - self.rng.below(known / 2 + 1));
            let (graph, epoch) = (Arc::clone(&client.graph), client.epoch);
            let stages = known_stages(&client.journal);
            for id in &attached {
                let shares = &mut self.executors.get_mut(id).unwrap().queries;
                if let Some(share) = shares.get_mut(&query) {
                    share.epoch = epoch;
                }
            }
            let mut held = Vec::new();
            for id in &attached {
                if let Some((answer, results)) = self.executors[id].answer(query) {
                    held.push((id.clone(), answer));
                    self.inline.extend(results);
                }
            }
            let event = Event::Adopt {
                query,
                graph,
                epoch,
                deadline: None,
                stages,
                held,
            };
            self.clients.get_mut(&query).unwrap().has_deadline = false;
            self.tell(event);
        }
    }

    /// Queries that had ended when their owner died: executors drop them in time.
    fn forget(&mut self, query: QueryId) {
        for executor in self.executors.values_mut() {
            executor.queries.remove(&query);
        }
        let client = self.clients.get_mut(&query).unwrap();
        client.released = true;
    }
}

/// The query that a command is about.
fn commanded(command: &Action) -> Option<QueryId> {
    match command {
        Action::AnnounceOwner { query, .. }
        | Action::Launch { query, .. }
        | Action::CancelAttempts { query, .. }
        | Action::ReleaseOutputs { query, .. }
        | Action::EndQuery { query, .. } => Some(*query),
        _ => None,
    }
}

fn known_stages(journal: &[Record]) -> Vec<KnownStage> {
    let mut known: BTreeMap<StageId, KnownStage> = BTreeMap::new();
    for record in journal {
        match record {
            Record::Formed(stage, ranges, floor) => {
                let tasks = ranges.iter().map(|&partitions| KnownTask {
                    partitions,
                    output: None,
                });
                let (stage, tasks, floor) = (*stage, tasks.collect(), *floor);
                known.insert(
                    stage,
                    KnownStage {
                        stage,
                        tasks,
                        floor,
                    },
                );
            }
            Record::Finished(stage, outputs) => {
                let tasks = &mut known.get_mut(stage).unwrap().tasks;
                let outputs = outputs.locations.iter().zip(&outputs.summaries);
                for (task, (location, summary)) in tasks.iter_mut().zip(outputs) {
                    task.output = Some(KnownOutput {
                        attempt: location.attempt,
                        executor: location.executor.clone(),
                        summary: summary.as_ref().clone(),
                    });
                }
            }
        }
    }
    known.into_values().collect()
}

/// Whoever reads two outputs must find that both read the same attempts.
fn merge(into: &mut Lineage, from: &Lineage) {
    for (task, nonce) in from {
        let other = into.insert(*task, *nonce);
        assert!(
            other.is_none_or(|other| other == *nonce),
            "two attempts of {task:?} were read"
        );
    }
}

pub(crate) fn add(total: &mut Counters, more: Counters) {
    total.queries_finished += more.queries_finished;
    total.queries_failed += more.queries_failed;
    total.queries_refused += more.queries_refused;
    total.attempts_taken_back += more.attempts_taken_back;
    total.outputs_taken_back += more.outputs_taken_back;
    total.outputs_lost += more.outputs_lost;
    total.attempts_lost += more.attempts_lost;
    total.attempts_cancelled += more.attempts_cancelled;
    total.reruns += more.reruns;
    total.stale_reports += more.stale_reports;
    total.queries_adopted += more.queries_adopted;
}
