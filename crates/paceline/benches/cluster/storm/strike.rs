//! Faults: done, proven, felt, and undone.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use paceline_model::SchedulerId;
use paceline_testkit::{Doors, Role, Traffic};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::forecast::{Blow, COUNT, Strike, Target};
use super::world::{World, text};

/// Within which a fault must be there.
const PROOF_LIMIT: Duration = Duration::from_secs(10);

/// What HTTP/2 servers expect first. Whatever they answer is not waited for.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A fault that is there.
pub(crate) struct Struck {
    pub(crate) blow: Blow,
    pub(crate) role: Role,
    pub(crate) index: usize,
    pub(crate) at: Instant,
    /// Of a scheduler: who it was, and what its journal held.
    id: SchedulerId,
    journal: BTreeSet<String>,
}

impl Struck {
    /// Whether it does not answer until it is undone.
    pub(crate) fn is_silent(&self) -> bool {
        !matches!(self.blow, Blow::Cut | Blow::KillAndRestart)
    }

    pub(crate) fn is(&self, role: Role, index: usize) -> bool {
        self.role == role && self.index == index
    }
}

/// The processes that a target stands for. `owner` is who drives the query, as far as that is known.
pub(crate) fn victims(target: Target, owner: usize, spared: &[usize]) -> Vec<(Role, usize)> {
    let alive = |scheduler: &usize| !spared.contains(scheduler);
    let others = || (0..COUNT).filter(|s| *s != owner && alive(s));
    match target {
        Target::Owner if alive(&owner) => vec![(Role::Scheduler, owner)],
        // Nobody drives it yet.
        Target::Owner | Target::OtherScheduler => {
            others().take(1).map(|s| (Role::Scheduler, s)).collect()
        }
        Target::AllSchedulers => (0..COUNT).map(|s| (Role::Scheduler, s)).collect(),
        Target::Executor(executor) => vec![(Role::Executor, executor)],
        Target::AllExecutors => (0..COUNT).map(|e| (Role::Executor, e)).collect(),
    }
}

/// Does it, and proves that it is done.
pub(crate) async fn strike(
    world: &mut World,
    blow: Blow,
    (role, index): (Role, usize),
) -> Result<Struck, String> {
    let id = match role {
        Role::Scheduler => world.id(index),
        Role::Executor => SchedulerId::new(""),
    };
    let mut struck = Struck {
        blow,
        role,
        index,
        at: Instant::now(),
        journal: BTreeSet::new(),
        id,
    };
    match blow {
        Blow::Kill | Blow::KillAndRestart => kill(world, role, index).await?,
        Blow::Freeze => freeze(world, role, index)?,
        Blow::Cut => {
            shut(world, role, index, Traffic::Cut, Doors::cut_connections).await?;
            doors(world, role, index)?.set(Traffic::Flows);
        }
        Blow::CutOff => shut(world, role, index, Traffic::Cut, Doors::cut_connections).await?,
        Blow::Stall => shut(world, role, index, Traffic::Stalls, Doors::held_back).await?,
    }
    // From now on it writes nothing, if it is dead or frozen.
    struck.journal = world.journal(&struck.id);
    Ok(struck)
}

async fn kill(world: &mut World, role: Role, index: usize) -> Result<(), String> {
    let node = world.cluster.node(role, index).ok_or("no such process")?;
    let Some(process) = node.process() else {
        // An all-out strike meets one that is down already.
        return Ok(());
    };
    let id = process.id().ok_or("it had ended before it was killed")?;
    world.cluster.kill(role, index).await.map_err(text)?;
    match std::fs::exists(format!("/proc/{id}/stat")) {
        Ok(false) => Ok(()),
        other => Err(format!(
            "process {id} is still there after SIGKILL: {other:?}"
        )),
    }
}

fn freeze(world: &mut World, role: Role, index: usize) -> Result<(), String> {
    let node = world.cluster.node(role, index).ok_or("no such process")?;
    let process = node.process().ok_or("a process to be frozen is down")?;
    process.freeze().map_err(text)?;
    let id = process.id().ok_or("it had ended before it was frozen")?;
    let deadline = Instant::now() + PROOF_LIMIT;
    while state(id) != Some('T') {
        if Instant::now() > deadline {
            return Err(format!(
                "process {id} goes on after SIGSTOP: {:?}",
                state(id)
            ));
        }
        std::thread::yield_now();
    }
    Ok(())
}

/// What the system says that a process is doing.
fn state(process: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Shuts the doors of a process, knocks, and waits until that was counted.
async fn shut(
    world: &mut World,
    role: Role,
    index: usize,
    traffic: Traffic,
    count: impl Fn(&Doors) -> u64,
) -> Result<(), String> {
    let node = world.cluster.node(role, index).ok_or("no such process")?;
    let address = node.announced().cluster.clone();
    let doors = doors(world, role, index)?;
    let before = count(doors);
    doors.set(traffic);
    let deadline = Instant::now() + PROOF_LIMIT;
    let mut knock = TcpStream::connect(&address).await.map_err(text)?;
    // It may be closed already.
    let _ = knock.write_all(PREFACE).await;
    while count(doors) == before {
        if Instant::now() > deadline {
            return Err(format!("nothing was felt of {traffic:?} at {address}"));
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    if traffic == Traffic::Cut {
        let through = knock.read(&mut [0; 1]).await;
        if matches!(through, Ok(bytes) if bytes > 0) {
            return Err(format!("{address} answers though it is cut off"));
        }
    }
    Ok(())
}

fn doors(world: &World, role: Role, index: usize) -> Result<&Doors, String> {
    let nodes = match role {
        Role::Scheduler => world.cluster.schedulers(),
        Role::Executor => world.cluster.executors(),
    };
    let doors = nodes.get(index).and_then(|node| node.doors());
    doors.ok_or_else(|| format!("{role} {} has no doors", index + 1))
}

/// Whether somebody sealed the journal of a scheduler that cannot write, and perhaps drained it since.
pub(crate) fn was_sealed(world: &World, struck: &Struck) -> bool {
    world.journal(&struck.id) != struck.journal
}

/// Whether others have drawn their conclusions. `awake` are schedulers that answer.
pub(crate) async fn is_felt(world: &World, struck: &Struck, awake: &[usize]) -> bool {
    match (struck.blow, struck.role) {
        (Blow::Kill | Blow::KillAndRestart | Blow::Cut, _) => true,
        (Blow::Freeze, Role::Scheduler) => was_sealed(world, struck),
        // Its beacon goes on, and it has no executors. If there is anybody to do it, it was taken over,
        // and goes on under another id.
        (_, Role::Scheduler) => match world.status(struck.index).await {
            Some(status) => {
                let others = awake.iter().any(|scheduler| *scheduler != struck.index);
                status.executors.is_empty() && (!others || status.scheduler != struck.id)
            }
            None => false,
        },
        (_, Role::Executor) => {
            let nodes = world.cluster.executors();
            let address = nodes
                .get(struck.index)
                .map(|node| &node.announced().cluster);
            for scheduler in awake {
                if let Some(status) = world.status(*scheduler).await {
                    let mut there = status.executors.iter();
                    return !there.any(|executor| Some(&executor.address) == address);
                }
            }
            false
        }
    }
}

/// Undoes what can be undone before the query has ended.
pub(crate) fn undo(world: &mut World, struck: &Struck) -> Result<(), String> {
    let (role, index) = (struck.role, struck.index);
    match struck.blow {
        Blow::Freeze => {
            let node = world.cluster.node(role, index).ok_or("no such process")?;
            node.process()
                .ok_or("a frozen process is gone")?
                .thaw()
                .map_err(text)
        }
        Blow::CutOff | Blow::Stall => {
            doors(world, role, index)?.set(Traffic::Flows);
            Ok(())
        }
        Blow::Kill | Blow::KillAndRestart | Blow::Cut => Ok(()),
    }
}

/// All strikes at once: what is sent does not wait for what was sent before to be felt.
pub(crate) async fn all(
    world: &mut World,
    strikes: &[Strike],
    owner: usize,
    spared: &[usize],
) -> Result<Vec<Struck>, String> {
    let mut done: Vec<Struck> = Vec::new();
    for one in strikes {
        for (role, index) in victims(one.target, owner, spared) {
            if done.iter().any(|other| other.is(role, index)) {
                continue;
            }
            done.push(strike(world, one.blow, (role, index)).await?);
        }
    }
    if done.is_empty() {
        return Err("there was nobody to strike".to_string());
    }
    Ok(done)
}
