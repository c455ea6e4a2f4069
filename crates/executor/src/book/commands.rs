//! What owners command, checked and noted.

use std::time::{Duration, Instant};

use paceline_model::{Epoch, OutputId, QueryId, SchedulerId};
use paceline_proto::{cluster, query_bytes};
use tokio_util::sync::CancellationToken;

use super::links::LinkId;
use super::live::{Begin, LiveAttempt};
use super::{Book, Refusal};

impl Book {
    /// Checks the right to command a query, and notes a new owner. A query that was unknown is
    /// noted as well, so that its epoch fences from now on.
    pub(crate) fn admit(
        &mut self,
        link: LinkId,
        query: QueryId,
        epoch: Epoch,
    ) -> Result<(), Refusal> {
        let scheduler = match self.links.get_mut(link) {
            Some(link) => link.scheduler.clone(),
            None => return Err(Refusal::Detached),
        };
        if self.ended.epoch(query).is_some_and(|ended| epoch <= ended) {
            return Err(Refusal::Ended);
        }
        let former = self.held.owner(query).cloned();
        let taken_over = self.held.admit(query, epoch, &scheduler)?;
        if taken_over {
            self.tell_former_owner(query, epoch, former.as_ref());
            self.tell_new_owner(query);
        }
        Ok(())
    }

    /// A former owner that is still attached may not know that it is one: it would wait for states
    /// that others are told.
    fn tell_former_owner(&mut self, query: QueryId, epoch: Epoch, former: Option<&SchedulerId>) {
        if let Some(former) = former
            && let Some(link) = self.links.of_mut(former)
        {
            link.held.push(cluster::HeldQuery {
                query: query_bytes(query),
                epoch: epoch.0,
                ..cluster::HeldQuery::default()
            });
            link.wake.notify_one();
        }
    }

    /// Notes that the scheduler adopted a query, and what it is to be told of it: all that is held,
    /// and the highest epoch seen. Gives the tokens of what goes if the query was planned afresh.
    pub(crate) fn adopt(
        &mut self,
        link: LinkId,
        query: QueryId,
        epoch: Epoch,
        afresh: bool,
    ) -> Result<Vec<CancellationToken>, Refusal> {
        let admitted = self.admit(link, query, epoch);
        let dropped = match (&admitted, afresh) {
            (Ok(()), true) => self.clear(query),
            _ => Vec::new(),
        };
        let mut held = match admitted {
            Ok(()) => self.held.of_query(query),
            Err(_) => None,
        }
        .unwrap_or_else(|| cluster::HeldQuery {
            query: query_bytes(query),
            epoch: self.epoch(query).map_or(0, |epoch| epoch.0),
            ..cluster::HeldQuery::default()
        });
        self.add_unheard(query, &mut held);
        if let Some(link) = self.links.get_mut(link) {
            if afresh && admitted.is_ok() {
                // What a new owner is told as a matter of course is of the former plan.
                link.passing.retain(|state| state.query != held.query);
            }
            link.held.push(held);
            link.wake.notify_one();
        }
        admitted.map(|()| dropped)
    }

    /// Takes what is to be said of queries that were adopted by the scheduler of a link.
    pub(crate) fn adopted(&mut self, link: LinkId) -> Vec<cluster::HeldQuery> {
        let link = self.links.get_mut(link);
        link.map(|link| std::mem::take(&mut link.held))
            .unwrap_or_default()
    }

    /// A new owner is told everything: it may know nothing of what its predecessor learned.
    fn tell_new_owner(&mut self, query: QueryId) {
        for id in self.held.finished(query) {
            if !self.outbox.has(&id)
                && let Some(state) = self.held.finished_state(&id)
            {
                self.outbox.put(query, state);
            }
        }
        let numbers = self.outbox.numbers_of(query);
        let live = self.held.live_states(query);
        if let Some(owner) = self.held.owner(query)
            && let Some(link) = self.links.of_mut(owner)
        {
            link.unsent.extend(numbers);
            link.passing.extend(live);
            link.wake.notify_one();
        }
    }

    /// Forgets the attempts, outputs and plans of a query whose new owner planned it afresh.
    pub(super) fn clear(&mut self, query: QueryId) -> Vec<CancellationToken> {
        self.outbox.drop_query(query);
        self.held.clear(query)
    }

    /// Notes an attempt as live whose launch was admitted in that epoch. One that finished before is told
    /// again instead.
    pub(crate) fn begin(
        &mut self,
        id: OutputId,
        epoch: Epoch,
        attempt: LiveAttempt,
    ) -> Result<Begin, Refusal> {
        let begin = self.held.begin(id, epoch, attempt)?;
        if matches!(begin, Begin::Finished)
            && !self.outbox.has(&id)
            && let Some(state) = self.held.finished_state(&id)
        {
            self.put(id.query, state);
        }
        Ok(begin)
    }

    /// Stops attempts of a query. A live one confirms by itself once it has stopped; one that is not known
    /// here is confirmed at once, so that nobody waits for it. One that has ended said so.
    pub(crate) fn cancel(
        &mut self,
        link: LinkId,
        query: QueryId,
        epoch: Epoch,
        attempts: &[cluster::AttemptRef],
    ) -> Result<(), Refusal> {
        self.admit(link, query, epoch)?;
        for id in attempts.iter().map(|attempt| attempt.of(query)) {
            if let Some(token) = self.held.cancel_token(&id) {
                token.cancel();
            } else if !self.has_ended(&id) {
                let stopped = cluster::task_state::State::Cancelled(cluster::Cancelled {});
                self.tell(id, stopped);
            }
        }
        Ok(())
    }

    /// Whether the attempt's output is held, or its end not acknowledged yet.
    fn has_ended(&self, id: &OutputId) -> bool {
        self.held.finished_state(id).is_some() || self.outbox.has(id)
    }

    /// Forgets outputs of a query that nobody will read again. Names them: from here on nobody is told
    /// that they are held, and they may be freed.
    pub(crate) fn release(
        &mut self,
        link: LinkId,
        query: QueryId,
        epoch: Epoch,
        outputs: &[cluster::AttemptRef],
    ) -> Result<Vec<OutputId>, Refusal> {
        self.admit(link, query, epoch)?;
        let outputs: Vec<_> = outputs.iter().map(|output| output.of(query)).collect();
        for id in &outputs {
            self.held.release(id);
        }
        Ok(outputs)
    }

    /// Ends a query: nothing of it is held from now on. Gives the tokens of its live attempts.
    pub(crate) fn end(
        &mut self,
        link: LinkId,
        query: QueryId,
        epoch: Epoch,
        now: Instant,
    ) -> Result<Vec<CancellationToken>, Refusal> {
        self.admit(link, query, epoch)?;
        let owner = self.held.owner(query).cloned();
        let live = self.held.remove(query);
        self.outbox.drop_query(query);
        if let Some(owner) = owner {
            self.ended.note(query, epoch, owner, now);
        }
        Ok(live)
    }

    /// Drops what nobody has owned since `ttl`, and forgets old endings.
    pub(crate) fn sweep(
        &mut self,
        now: Instant,
        ttl: Duration,
    ) -> Vec<(QueryId, Vec<CancellationToken>)> {
        for query in self.ended.expire(now) {
            // A later owner may have it go on.
            if !self.held.knows(query) {
                self.outbox.drop_query(query);
            }
        }
        let orphans = self.held.orphans(now, ttl);
        orphans
            .into_iter()
            .map(|query| {
                self.outbox.drop_query(query);
                (query, self.held.remove(query))
            })
            .collect()
    }
}
