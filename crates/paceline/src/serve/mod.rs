//! The servers: a scheduler, an executor, or both, until a signal.

mod allocator;
mod announce;
mod executor;
mod health;
mod lifeline;
pub(crate) mod memory;
mod options;
mod scheduler;
mod signals;

use clap::Args;
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Failure;
use crate::config::{self, Configuration, ForRole, Role, RoleFlags};

pub(crate) use signals::Signals;

/// What the commands that serve can be told.
#[derive(Args)]
pub(crate) struct Arguments<R: ForRole> {
    #[command(flatten)]
    options: RoleFlags<R>,
    /// Writes one line of JSON to the standard output that says where this process listens.
    #[arg(long)]
    announce: bool,
    /// Ends when the standard input is closed, and so with the process that holds its other end.
    #[arg(long)]
    with_parent: bool,
}

/// Serves until a signal asks for the end.
pub(crate) fn run<R: ForRole>(arguments: Arguments<R>) -> Result<(), Failure> {
    if matches!(R::ROLE, Role::Executor | Role::Standalone) {
        allocator::give_back_soon();
    }
    let environment: Vec<(String, String)> = environment().collect();
    let configuration = config::load(
        R::ROLE,
        arguments.options.config.as_deref(),
        environment.iter().cloned(),
        &arguments.options.flags,
    )?;
    paceline_telemetry::init_logs(&options::telemetry(&configuration.log))?;
    if arguments.with_parent {
        lifeline::end_with_parent();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("paceline")
        .thread_stack_size(paceline_plan::STACK_BYTES)
        .build()?;
    let serving = Serving {
        configuration,
        environment,
        announce: arguments.announce,
    };
    runtime.block_on(async {
        match R::ROLE {
            Role::Scheduler => scheduler::serve(serving).await,
            Role::Executor => executor::serve(serving).await,
            Role::Standalone => scheduler::serve_standalone(serving).await,
        }
    })
}

/// The variables of the environment that are text.
pub(crate) fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// What every role serves with.
struct Serving {
    configuration: Configuration,
    environment: Vec<(String, String)>,
    announce: bool,
}

/// The metrics endpoint of a process, and where it listens.
struct Observed {
    registry: Registry,
    metrics: String,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Observed {
    async fn start(configuration: &Configuration, role: &str) -> Result<Observed, Failure> {
        let registry = Registry::new();
        paceline_telemetry::register_process_metrics(&registry, role, env!("CARGO_PKG_VERSION"))?;
        let listen = &configuration.listen;
        let listener = bind("metrics", listen, listen.metrics_port).await?;
        let metrics = options::advertised(listen, listener.local_addr()?);
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        tasks.spawn(paceline_telemetry::serve_metrics(
            listener,
            registry.clone(),
            stop.clone(),
        ));
        Ok(Observed {
            registry,
            metrics,
            stop,
            tasks,
        })
    }

    async fn end(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

async fn bind(what: &str, listen: &config::Listen, port: u16) -> Result<TcpListener, Failure> {
    let address = std::net::SocketAddr::new(listen.host, port);
    TcpListener::bind(address).await.map_err(|error| {
        Failure::new(format!(
            "cannot listen on {address} for {what}: {error}; free it, or choose another port with \
             --listen-{what}-port"
        ))
    })
}
