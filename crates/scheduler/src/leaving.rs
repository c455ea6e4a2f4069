//! What a scheduler does about its journal when it leaves.

use paceline_core::ownership::Closed;
use paceline_store::JournalError;

use crate::news::News;
use crate::shared::Shared;

/// Seals the own journal and has the others take over what it holds.
pub(crate) async fn hand_over(shared: &Shared) {
    let (me, scribe) = (shared.driver.me(), &shared.driver.scribe);
    if let Err(error) = scribe.flush().await {
        tracing::warn!(%error, "the journal could not be brought up to date");
    }
    match shared.journaling.journals.seal(&me, &me).await {
        Ok(_) => {
            shared.note_handed_over();
            let by = me.clone();
            let sealed = Closed::Sealed { by };
            let closed = News::Closed(me.clone(), sealed);
            shared.driver.newsroom.tell(closed);
            shared.peers.tell_of_seal(shared, &me).await;
        }
        Err(error) => {
            tracing::warn!(%error, "cannot hand over; finishing what runs");
        }
    }
}

/// Leaves a journal behind that nobody has to look at, if it holds nothing any more.
pub(crate) async fn close_journal(shared: &Shared) {
    let (me, journals) = (shared.driver.me(), &shared.journaling.journals);
    // What waits is the end of queries; without it others would look for them.
    let _ = shared.driver.scribe.flush().await;
    let closed = async {
        let sealed = journals.seal(&me, &me).await?;
        if sealed.book.queries().next().is_none() {
            journals.mark_drained(&me, &me).await?;
            journals.remove_segments(&me).await?;
        }
        Ok::<_, JournalError>(())
    };
    if let Err(error) = closed.await {
        tracing::warn!(%error, "the journal could not be closed; another scheduler will");
    }
}
