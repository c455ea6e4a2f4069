//! The own beacon, beat by beat, and what is learned from those of others on the way.

use std::sync::Arc;
use std::time::Instant;

use crate::moment::now_and_then;
use crate::news::News;
use crate::shared::Shared;
use crate::watching::watch_peers;

/// How often beacons are looked at in the time of one beat. A beat is seen up to one look after it was
/// done, and its absence is counted from there; that is how much longer than `takeover_after` a frozen
/// scheduler may go unnoticed.
const LOOKS_PER_BEAT: u32 = 2;

/// Beats for as long as it is polled.
pub(crate) async fn keep_beating(shared: Arc<Shared>) {
    // A beacon is what stands still if its scheduler does.
    let mut ticks = now_and_then(shared.membership.interval() / LOOKS_PER_BEAT);
    let mut looks = (0..LOOKS_PER_BEAT).cycle();
    loop {
        // Cancel safety: neither is lost when the other one comes first.
        let begins = tokio::select! {
            _ = ticks.tick() => looks.next() == Some(0),
            () = shared.newcomer.notified() => false,
        };
        // Who leaves is not to be found any more; until then it would be held for gone.
        let looked = if begins && !shared.is_leaving() {
            beat(&shared).await
        } else {
            shared.membership.look().await
        };
        if let Err(error) = looked {
            tracing::warn!(%error, "the state store does not answer; a beat is missed");
            shared.catalog.doubt();
            shared.store_away(true);
            continue;
        }
        shared.store_away(false);
        shared.peers.keep_only(&shared.membership.addresses());
        let silences = shared.membership.silences();
        shared.driver.metrics.silences(&silences);
        shared.driver.newsroom.tell(News::Beacons(silences));
        if shared.membership.take_vanished() {
            shared.driver.newsroom.tell(News::Vanished);
        }
        shared.tell_members();
        watch_peers(&shared);
        tell_the_unaware(&shared);
        if begins {
            have_stale_beacons_removed(&shared);
        }
        if begins && is_forsaken(&shared) {
            shared.driver.newsroom.tell(News::Doubt);
        }
    }
}

/// A journal that is over is looked at again, and the beacon goes with what is left of it.
fn have_stale_beacons_removed(shared: &Shared) {
    for scheduler in shared.membership.stale() {
        shared.driver.newsroom.tell(News::Seal(scheduler));
    }
}

/// Whether queries wait here for executors that others may have. Those may hold this scheduler for dead, and
/// if it is cut off from them they cannot tell it so.
fn is_forsaken(shared: &Shared) -> bool {
    shared.driver.busy() && shared.is_unreached()
}

/// Shows the own beacon; what others may have done while it was not shown is doubted.
pub(crate) async fn beat(shared: &Shared) -> Result<(), paceline_store::StoreError> {
    let (membership, begun) = (&shared.membership, Instant::now());
    let missed = membership.may_be_missed(begun);
    let shown = membership.show().await?;
    // Whoever changed the catalog before it saw this beat did not tell of it, and whoever did after it
    // will. Between the two nothing else tells of the pause, so the doubt comes first.
    if missed {
        shared.catalog.doubt();
    }
    membership.has_shown(&shown, begun);
    Ok(())
}

/// Tells schedulers that were taken over and live. One that drives nothing would not find out, and
/// nobody would tell it of the catalog.
fn tell_the_unaware(shared: &Arc<Shared>) {
    for beacon in shared.membership.unaware() {
        let telling = Arc::clone(shared);
        shared.spawn_until_stopped(async move {
            let told = telling.peers.tell_one_of_seal(&beacon, &beacon.scheduler);
            told.await;
        });
    }
}
