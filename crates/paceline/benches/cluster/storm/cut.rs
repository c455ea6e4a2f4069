//! What passes between a process and all others: cut or held up, which is seen on connections that were
//! there.

use std::time::{Duration, Instant};

use paceline_testkit::{Links, Role, Traffic};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::strike::PROOF_LIMIT;
use super::world::{World, text};

/// What HTTP/2 servers expect first. Whatever they answer is not waited for.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const LOOK: Duration = Duration::from_millis(1);

/// A process by its role and number.
pub(super) type Victim = (Role, usize);

/// Cuts or stalls both what others connect to a process and what it connects to them. If it must be
/// connected to somebody, that is waited for, so that there is something to strike. Of what is cut
/// nothing may be left.
pub(super) async fn shut(
    world: &World,
    victim: Victim,
    traffic: Traffic,
    is_connected: bool,
) -> Result<(), String> {
    if is_connected {
        let what = "it has connections to strike";
        until(world, victim, what, |links| links.from > 0).await?;
    }
    set(world, victim, traffic)?;
    if traffic == Traffic::Cut {
        let what = "its connections are cut";
        until(world, victim, what, |links| links.from + links.to == 0).await?;
        nobody_answers(world, victim).await?;
    }
    Ok(())
}

/// Waits until something waits on a connection of a process that was stalled. They all have a word for
/// each other several times in a second.
pub(super) async fn holds_something_up(
    world: &World,
    victim: Victim,
    is_connected: bool,
) -> Result<(), String> {
    let knock = match is_connected {
        true => None,
        false => Some(knock(world, victim).await?),
    };
    let what = "something of it is held up";
    until(world, victim, what, |links| links.held_up > 0).await?;
    drop(knock);
    Ok(())
}

/// Has everything flow, stall or break off.
pub(super) fn set(world: &World, (role, index): Victim, traffic: Traffic) -> Result<(), String> {
    let set = world.cluster.set_traffic(role, index, traffic);
    set.map_err(text)
}

/// Says the first word at the cluster port of a process.
async fn knock(world: &World, (role, index): Victim) -> Result<TcpStream, String> {
    let nodes = match role {
        Role::Scheduler => world.cluster.schedulers(),
        Role::Executor => world.cluster.executors(),
    };
    let node = nodes.get(index).ok_or("no such process")?;
    let connecting = TcpStream::connect(&node.announced().cluster);
    let mut knock = connecting.await.map_err(text)?;
    // It may be closed already.
    let _ = knock.write_all(PREFACE).await;
    Ok(knock)
}

/// Whoever connects now is cut as well.
async fn nobody_answers(world: &World, victim: Victim) -> Result<(), String> {
    let mut knock = knock(world, victim).await?;
    let (role, number) = (victim.0, victim.1 + 1);
    match timeout(PROOF_LIMIT, knock.read(&mut [0; 1])).await {
        Ok(Ok(0) | Err(_)) => Ok(()),
        Ok(Ok(_)) => Err(format!("{role} {number} answers though it is cut off")),
        Err(_) => Err(format!("a connection to {role} {number} was not cut")),
    }
}

async fn until(
    world: &World,
    (role, index): Victim,
    what: &str,
    reached: impl Fn(Links) -> bool,
) -> Result<(), String> {
    let deadline = Instant::now() + PROOF_LIMIT;
    loop {
        let links = world.cluster.links(role, index).map_err(text)?;
        if reached(links) {
            return Ok(());
        }
        if Instant::now() > deadline {
            let number = index + 1;
            return Err(format!(
                "waited too long for {role} {number} until {what}: {links:?}"
            ));
        }
        tokio::time::sleep(LOOK).await;
    }
}
