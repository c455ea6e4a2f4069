//! With whom this scheduler is in contact: each of the two holds a stream to the other.
//!
//! Whoever changes the catalog answers once all others know of it, but for those that it holds for gone and
//! holds no stream to. So who is in contact with everybody else is told of every change, and asks the store
//! for nothing before it plans. Where contact is missing it has to look: if the network falls apart, each
//! side seals the journals of the other and goes on alone, though both have executors and reach the store.
//!
//! That the stream of another scheduler has ended shows at once where its connection breaks, and after some
//! seconds where nothing comes through. That nothing is heard from it shows sooner, and counts as much.

use std::time::{Duration, Instant};

use paceline_model::SchedulerId;
use paceline_store::{Beacon, Verdict};
use tokio::sync::watch;

use super::{Membership, Seen};

/// For how long nothing may be heard at least: four words, or a pause of a busy process.
const HEARD_WITHIN: Duration = Duration::from_secs(1);

/// The same where beats are so far apart. Others wait for two of them at least before they go on without a
/// scheduler that says nothing.
pub(super) fn heard_within(beat: Duration) -> Duration {
    beat.max(HEARD_WITHIN)
}

/// The streams between this scheduler and another one.
#[derive(Debug, Default)]
pub(super) struct Contact {
    /// How many the other one holds: a new one may begin before the former is seen to end.
    watches: usize,
    /// Whether this one holds one, or asks for it.
    is_watched: bool,
    /// When the other one said something last.
    heard: Option<Instant>,
    /// Whether it was asked for a stream and has not answered since.
    is_silent: bool,
}

impl Contact {
    fn is_mutual(&self, at: Instant, within: Duration) -> bool {
        let recent = |heard: Instant| at.saturating_duration_since(heard) < within;
        self.watches > 0 && self.heard.is_some_and(recent)
    }

    fn is_nothing(&self) -> bool {
        self.watches == 0 && !self.is_watched && self.heard.is_none() && !self.is_silent
    }
}

impl Seen {
    /// Everybody else who may change the catalog: those who show their beacons, and those whose beacons were
    /// taken away because their journals are over. They may not know that, and show them again.
    fn others(&self) -> impl Iterator<Item = &SchedulerId> {
        let counted = self.liveness.counted();
        let acting = counted.filter(move |(scheduler, is_shown)| {
            let acts = *is_shown || self.gone.contains(scheduler);
            acts && **scheduler != self.own.scheduler && !self.left.contains(scheduler)
        });
        acting.map(|(scheduler, _)| scheduler)
    }

    /// Whether somebody may go on without this scheduler.
    pub(super) fn is_passed_over(&self, at: Instant) -> bool {
        self.others().any(|other| {
            let contact = self.contacts.get(other);
            !contact.is_some_and(|contact| contact.is_mutual(at, self.heard_within))
        })
    }

    /// Whether a scheduler does not answer this one.
    pub(super) fn is_silent(&self, scheduler: &SchedulerId) -> bool {
        let contact = self.contacts.get(scheduler);
        contact.is_some_and(|contact| contact.is_silent)
    }

    pub(super) fn is_gone(&self, scheduler: &SchedulerId) -> bool {
        self.gone.contains(scheduler) || self.liveness.verdict(scheduler) != Some(Verdict::Live)
    }

    fn may_pass_over(&self, scheduler: &SchedulerId) -> bool {
        let contact = self.contacts.get(scheduler);
        self.is_gone(scheduler) && !contact.is_some_and(|contact| contact.is_watched)
    }
}

impl Membership {
    /// Notes something about the streams between this scheduler and another one. Returns whether there was
    /// contact before, and is now.
    fn note(
        &self,
        scheduler: &SchedulerId,
        at: Instant,
        change: impl FnOnce(&mut Contact),
    ) -> [bool; 2] {
        let was_and_is = {
            let seen = &mut *self.seen.lock();
            let within = seen.heard_within;
            let contact = seen.contacts.entry(scheduler.clone()).or_default();
            let before = contact.is_mutual(at, within);
            change(contact);
            let after = contact.is_mutual(at, within);
            if contact.is_nothing() {
                seen.contacts.remove(scheduler);
            }
            [before, after]
        };
        self.contacts_changed.send_replace(());
        was_and_is
    }

    /// Another scheduler begins to hold a stream to this one; true if that makes contact. So does a later
    /// stream: the former one has ended before, though that may not be seen yet.
    pub(crate) fn watched_by(&self, scheduler: &SchedulerId, at: Instant) -> bool {
        let [_, is] = self.note(scheduler, at, |contact| contact.watches += 1);
        is
    }

    /// One of its streams has ended.
    pub(crate) fn not_watched_by(&self, scheduler: &SchedulerId) {
        self.note(scheduler, Instant::now(), |contact| {
            contact.watches = contact.watches.saturating_sub(1);
        });
    }

    /// This scheduler asks another one for a stream. The other one may hold itself for watched before its
    /// answer is here.
    pub(crate) fn watches(&self, scheduler: &SchedulerId) {
        self.note(scheduler, Instant::now(), |contact| {
            contact.is_watched = true;
        });
    }

    /// The other one said something on that stream; true if that makes contact.
    pub(crate) fn heard(&self, scheduler: &SchedulerId, at: Instant) -> bool {
        let [was, is] = self.note(scheduler, at, |contact| {
            contact.heard = Some(at);
            contact.is_silent = false;
        });
        is && !was
    }

    /// The stream has ended; or there was none, because the other one is silent.
    pub(crate) fn watches_no_more(&self, scheduler: &SchedulerId, is_silent: bool) {
        self.note(scheduler, Instant::now(), |contact| {
            contact.is_watched = false;
            contact.is_silent |= is_silent;
        });
    }

    /// This scheduler asks the other one for no stream any more.
    pub(crate) fn gives_up(&self, scheduler: &SchedulerId) {
        self.note(scheduler, Instant::now(), |contact| {
            contact.is_watched = false;
            contact.is_silent = false;
            contact.heard = None;
        });
    }

    /// A scheduler has sealed its journal itself: it leaves, and changes nothing any more.
    pub(crate) fn has_left(&self, scheduler: &SchedulerId) {
        let seen = &mut *self.seen.lock();
        seen.was_passed_over |= seen.is_passed_over(Instant::now());
        seen.left.insert(scheduler.clone());
    }

    /// Whether somebody may have gone on without this scheduler since this was asked last.
    pub(crate) fn may_be_passed_over(&self, at: Instant) -> bool {
        let seen = &mut *self.seen.lock();
        std::mem::take(&mut seen.was_passed_over) || seen.is_passed_over(at)
    }

    /// Whether contact is missing with somebody who has not been silent so far.
    pub(crate) fn awaits_contact(&self, at: Instant) -> bool {
        let seen = self.seen.lock();
        seen.others().any(|other| {
            let contact = seen.contacts.get(other);
            !contact.is_some_and(|it| it.is_silent || it.is_mutual(at, seen.heard_within))
        })
    }

    /// Sees every change of contacts.
    pub(crate) fn contacts(&self) -> watch::Receiver<()> {
        self.contacts_changed.subscribe()
    }

    /// Everybody who is to be told of a change: who is not gone, or may hold itself for watched.
    pub(crate) fn to_be_told(&self) -> Vec<Beacon> {
        let seen = self.seen.lock();
        let all = seen.liveness.live().chain(seen.liveness.gone());
        all.filter(|beacon| beacon.scheduler != seen.own.scheduler)
            .filter(|beacon| !seen.may_pass_over(&beacon.scheduler))
            .cloned()
            .collect()
    }

    /// Whether a change need not wait for a scheduler.
    pub(crate) fn may_pass_over(&self, scheduler: &SchedulerId) -> bool {
        self.seen.lock().may_pass_over(scheduler)
    }
}

#[cfg(test)]
mod tests {
    use paceline_store::{Members, Roster};

    use super::*;
    use crate::testing::{beacon, store};

    const BEAT: Duration = Duration::from_secs(10);

    /// What a scheduler knows that has seen another one, and when that was.
    struct Scene {
        membership: Membership,
        other: SchedulerId,
        begun: Instant,
        _directory: tempfile::TempDir,
    }

    impl Scene {
        fn begin() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let members = Members::new(store(directory.path()));
            let scene = Scene {
                membership: Membership::new(members, beacon(SchedulerId::new("me"), 0), BEAT),
                other: SchedulerId::new("other"),
                begun: Instant::now(),
                _directory: directory,
            };
            scene.look(0, Some(1));
            scene
        }

        fn in_contact() -> Self {
            let scene = Scene::begin();
            scene.membership.watches(&scene.other);
            scene.membership.watched_by(&scene.other, scene.begun);
            assert!(scene.membership.heard(&scene.other, scene.begun));
            scene
        }

        fn after(&self, beats: u32) -> Instant {
            self.begun + BEAT * beats
        }

        /// Looks after so many beats, at the other one's beacon if it is there.
        fn look(&self, beats: u32, other: Option<u64>) {
            let mut roster = Roster {
                beacons: vec![beacon(SchedulerId::new("me"), u64::from(beats))],
                unreadable: vec![],
            };
            let other = other.map(|beat| beacon(self.other.clone(), beat));
            roster.beacons.extend(other);
            self.membership.observe(&roster, self.after(beats));
        }

        fn is_passed_over(&self, beats: u32) -> bool {
            self.membership.may_be_passed_over(self.after(beats))
        }
    }

    #[tokio::test]
    async fn who_is_in_contact_with_all_others_is_passed_over_by_nobody() {
        let scene = Scene::begin();
        let (membership, other, begun) = (&scene.membership, &scene.other, scene.begun);
        assert!(scene.is_passed_over(0) && membership.awaits_contact(begun));
        assert!(!membership.watched_by(other, begun));
        assert!(scene.is_passed_over(0), "nothing was heard from it");
        assert!(membership.heard(other, begun));
        assert!(!scene.is_passed_over(0) && !membership.awaits_contact(begun));
        assert!(!membership.heard(other, begun), "there is contact already");

        // A later stream begins before the former one is seen to end.
        assert!(membership.watched_by(other, begun));
        membership.not_watched_by(other);
        assert!(!scene.is_passed_over(0));
        membership.not_watched_by(other);
        assert!(scene.is_passed_over(0));
        assert!(membership.watched_by(other, begun));

        // Nothing is heard from it any more.
        scene.look(1, Some(2));
        assert!(scene.is_passed_over(1));
        assert!(membership.heard(other, scene.after(1)));
        assert!(!scene.is_passed_over(1));
    }

    #[tokio::test]
    async fn who_is_silent_is_not_awaited_and_may_go_on_without_others() {
        let scene = Scene::begin();
        let membership = &scene.membership;
        membership.watches(&scene.other);
        membership.watches_no_more(&scene.other, true);
        assert!(!membership.awaits_contact(scene.begun));
        assert!(scene.is_passed_over(0));
        membership.gives_up(&scene.other);
        assert!(membership.awaits_contact(scene.begun));
    }

    #[tokio::test]
    async fn who_has_left_passes_nobody_over() {
        let scene = Scene::in_contact();
        scene.membership.gone_for_good(&scene.other);
        scene.membership.has_left(&scene.other);
        scene.membership.not_watched_by(&scene.other);
        scene.membership.gives_up(&scene.other);
        assert!(!scene.is_passed_over(0), "though its beacon is there");
        scene.look(1, None);
        assert!(!scene.is_passed_over(1));
    }

    #[tokio::test]
    async fn of_one_that_took_its_beacon_away_changes_are_looked_for_once_more() {
        let scene = Scene::in_contact();
        scene.membership.not_watched_by(&scene.other);
        scene.look(1, None);
        assert!(scene.is_passed_over(1), "until it was looked again");
        assert!(!scene.is_passed_over(1));
    }

    #[tokio::test]
    async fn of_one_that_died_changes_are_looked_for_until_its_beacon_has_stood_still() {
        let scene = Scene::in_contact();
        scene.membership.not_watched_by(&scene.other);
        scene.membership.gone_for_good(&scene.other);
        for beats in 1..=2 {
            scene.look(beats, Some(1));
            assert!(scene.is_passed_over(beats) && scene.is_passed_over(beats));
        }
        scene.look(3, Some(1));
        assert!(scene.is_passed_over(3), "until it was looked again");
        assert!(!scene.is_passed_over(3));
    }

    /// Whoever drained its journal takes its beacon away. It may live, and put it back.
    #[tokio::test]
    async fn who_was_taken_over_may_go_on_without_a_beacon() {
        let scene = Scene::in_contact();
        scene.membership.gone_for_good(&scene.other);
        scene.membership.not_watched_by(&scene.other);
        scene.look(1, None);
        assert!(scene.is_passed_over(1) && scene.is_passed_over(1));
        scene.look(2, Some(7));
        assert!(scene.is_passed_over(2) && scene.is_passed_over(2));
    }

    #[tokio::test]
    async fn a_change_waits_for_all_who_are_not_gone_or_may_hold_themselves_for_watched() {
        let scene = Scene::in_contact();
        let (membership, other) = (&scene.membership, &scene.other);
        let stands = || {
            (
                membership.to_be_told().len(),
                membership.may_pass_over(other),
            )
        };
        assert_eq!(stands(), (1, false));
        membership.gone_for_good(other);
        assert_eq!(stands(), (1, false));
        membership.watches_no_more(other, false);
        assert_eq!(stands(), (0, true));
        membership.watches(other);
        assert_eq!(stands(), (1, false));
    }
}
