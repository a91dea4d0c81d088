//! The command line: one file per command, each a function from its arguments to what it prints.
//!
//! `serve` and `migrate` are roles of the process, and are carried out by the binary ([`Roles`]), as is all that needs the
//! configuration; `worker` is no command for people. All other commands speak to a server over the HTTP API (`client`). Results go to stdout, as tables for people or with `--json` as the server's
//! JSON; a failure is one line on stderr, and its kind is the exit code: 1 it failed, 2 wrong usage, 3 no server
//! reached, 4 not found, 64 bad configuration.

mod agents;
mod alerts;
mod asking;
mod bounds;
mod cancel;
mod check;
mod client;
mod completions;
mod config;
mod ctrl_c;
mod declare_dead;
mod failure;
mod follow;
#[cfg(test)]
mod held_tests;
mod hold;
mod id;
mod interrupt;
mod lines;
mod logs;
mod metrics;
mod patience;
mod pools;
mod ps;
mod queue;
mod reach;
mod redrive;
mod restart;
mod roles;
mod scale;
mod serve;
mod simulate;
mod spawn;
mod status;
mod stop;
mod submit;
mod table;
mod task;
#[cfg(test)]
mod task_tests;
mod tasks;
mod terminal;
mod terminate;
#[cfg(test)]
mod tests;
mod trace;
mod why;

use std::io::{ErrorKind, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use client::FoundServer;
pub use client::is_loopback;
pub use failure::CommandFailure;
pub use roles::{Given, InForce, Roles, ServerAddress, ServerLookup};
pub use simulate::{PRESETS, SHAPES, Simulated, SimulatedLoad, SimulationRequest};

/// Supervises pools of AI agents as real process trees.
#[derive(Debug, Parser)]
#[command(name = "muster", version, propagate_version = true, disable_help_subcommand = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: CliCommand,
}

/// What every command understands.
#[derive(Clone, Debug, Default, clap::Args)]
struct Global {
    /// The configuration [env: MUSTER_CONFIG] [default: ./muster.toml, else the data folder's]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    config: Option<PathBuf>,
    /// Folder of everything that Muster writes [env: MUSTER_DATA_DIR]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Global options")]
    data_dir: Option<String>,
    /// The server to speak to [env: MUSTER_URL] [default: the one of the data folder]
    #[arg(long, global = true, value_name = "URL", help_heading = "Global options")]
    url: Option<String>,
    /// Print JSON for programs
    #[arg(long, global = true, help_heading = "Global options")]
    json: bool,
}

/// The commands, in the order of the help.
#[derive(Debug, Subcommand)]
enum CliCommand {
    /// Start the supervisor and its HTTP API
    Serve(serve::ServeArgs),
    #[command(flatten)]
    OfAgents(AgentCommand),
    #[command(flatten)]
    OfTasks(TaskCommand),
    /// List alerts: what needs a person, or did
    Alerts,
    /// Give the agents of a pool, or all agents, no more tasks
    Pause(hold::Pause),
    /// Give agents tasks again
    Resume(hold::Resume),
    /// Take no more tasks for a pool, and give its agents none
    Drain(hold::Drain),
    /// Show how the supervisor is doing
    Status,
    /// Test limits, Redis, store, leader and workers; or what a worker of a pool reaches
    Check(check::CheckArgs),
    /// Show the configuration in force, and where each value is from
    Config(config::ConfigArgs),
    /// Run a pool's scaling policies over a day in virtual time
    Simulate(simulate::SimulateArgs),
    /// Print the tasks that a pool had, to simulate with
    Trace(trace::TraceArgs),
    /// Bring the database up to date
    Migrate,
    /// Stop the server
    Stop(stop::StopArgs),
    /// Print a script that completes commands in a shell
    Completions(completions::CompletionsArgs),
}

/// Those about agents, their workers and their pools.
#[derive(Debug, Subcommand)]
enum AgentCommand {
    /// Start agents
    Spawn(spawn::SpawnArgs),
    /// End agents for good
    Terminate(terminate::TerminateArgs),
    /// Start agents anew; also releases those in quarantine
    Restart(restart::RestartArgs),
    /// List agents, or workers
    Ps(ps::PsArgs),
    /// Say that workers are dead which nobody can reach, so that their agents run elsewhere
    DeclareDead(declare_dead::Args),
    /// Say that the capacity under workers will be taken away, so that others take their place
    Interrupt(interrupt::InterruptArgs),
    /// List, create, change and remove pools
    Pools(pools::PoolsArgs),
    /// Say how many workers a pool is to have
    Scale(scale::ScaleArgs),
    /// Tell why a pool has as many workers as it has, or what its policies would decide
    Why(why::WhyArgs),
    /// Show what a pool was and did lately
    Metrics(metrics::MetricsArgs),
    /// Show what an agent printed
    Logs(logs::LogsArgs),
}

/// Those about tasks.
#[derive(Debug, Subcommand)]
enum TaskCommand {
    /// Give the agents of a pool work
    Submit(submit::SubmitArgs),
    /// List tasks
    Tasks(tasks::TasksArgs),
    /// Show a task, or what becomes of it
    Task(task::TaskArgs),
    /// Call tasks off
    Cancel(cancel::CancelArgs),
    /// Send dead tasks to the queue again
    Redrive(redrive::RedriveArgs),
    /// Show how much work waits, and how fast it goes
    Queue,
}

/// What a command printed, and how it went on from there.
#[derive(Debug)]
struct Done {
    text: String,
    failure: Option<CommandFailure>,
}

impl From<String> for Done {
    fn from(text: String) -> Self {
        Self { text, failure: None }
    }
}

/// What a command works with.
struct CliContext<'a> {
    global: Global,
    roles: &'a dyn Roles,
}

impl CliContext<'_> {
    /// What the command line says about the configuration.
    fn given(&self) -> Given {
        let mut given = Given { config: self.global.config.clone(), ..Given::default() };
        given.set("data_dir", self.global.data_dir.clone());
        given
    }

    /// The server.
    fn server(&self) -> Result<FoundServer, CommandFailure> {
        Ok(client::find(self.roles.server(&self.given(), self.global.url.as_deref())?)?)
    }
}

/// Reads the command line and does what it says.
pub fn run(roles: &dyn Roles) -> ExitCode {
    let cli = Cli::parse();
    let context = CliContext { global: cli.global, roles };
    match carry_out(cli.command, &context) {
        Ok(done) => match (print(&done.text, context.global.json), done.failure) {
            (_, Some(failure)) => fail(&failure, roles),
            // Whoever read the output has seen enough.
            (Err(error), None) if error.kind() != ErrorKind::BrokenPipe => {
                fail(&CommandFailure::Failed(format!("the output can't be written: {error}")), roles)
            }
            _ => ExitCode::SUCCESS,
        },
        Err(failure) => fail(&failure, roles),
    }
}

fn carry_out(command: CliCommand, context: &CliContext<'_>) -> Result<Done, CommandFailure> {
    match command {
        CliCommand::Serve(args) => {
            context.roles.serve(&args.given(context.given()))?;
            Ok(String::new().into())
        }
        CliCommand::Migrate => Ok(format!("{}\n", context.roles.migrate(&context.given())?).into()),
        CliCommand::OfAgents(command) => carry_out_for_agents(command, context),
        CliCommand::OfTasks(command) => carry_out_for_tasks(command, context),
        CliCommand::Alerts => alerts::run(context),
        CliCommand::Pause(args) => hold::pause(&args, context),
        CliCommand::Resume(args) => hold::resume(&args, context),
        CliCommand::Drain(args) => hold::drain(&args, context),
        CliCommand::Status => status::run(context),
        CliCommand::Check(args) => check::run(&args, context),
        CliCommand::Config(args) => config::run(&args, context),
        CliCommand::Simulate(args) => simulate::run(args, context),
        CliCommand::Trace(args) => trace::run(&args, context),
        CliCommand::Stop(args) => stop::run(&args, context),
        CliCommand::Completions(args) => Ok(completions::run(&args)),
    }
}

fn carry_out_for_agents(command: AgentCommand, context: &CliContext<'_>) -> Result<Done, CommandFailure> {
    match command {
        AgentCommand::Spawn(args) => spawn::run(&args, context),
        AgentCommand::Terminate(args) => terminate::run(&args, context),
        AgentCommand::Restart(args) => restart::run(&args, context),
        AgentCommand::Ps(args) => ps::run(&args, context),
        AgentCommand::DeclareDead(args) => declare_dead::run(&args, context),
        AgentCommand::Interrupt(args) => interrupt::run(&args, context),
        AgentCommand::Pools(args) => pools::run(args, context),
        AgentCommand::Scale(args) => scale::run(&args, context),
        AgentCommand::Why(args) => why::run(&args, context),
        AgentCommand::Metrics(args) => metrics::run(&args, context),
        AgentCommand::Logs(args) => logs::run(&args, context),
    }
}

fn carry_out_for_tasks(command: TaskCommand, context: &CliContext<'_>) -> Result<Done, CommandFailure> {
    match command {
        TaskCommand::Submit(args) => submit::run(&args, context),
        TaskCommand::Tasks(args) => tasks::run(&args, context),
        TaskCommand::Task(args) => task::run(&args, context),
        TaskCommand::Cancel(args) => cancel::run(&args, context),
        TaskCommand::Redrive(args) => redrive::run(&args, context),
        TaskCommand::Queue => queue::run(context),
    }
}

/// The flags of `muster serve` with their help. What they set is not seen here, so who sees both compares them.
pub fn flags_of_serve() -> Vec<(String, String)> {
    let command = <Cli as clap::CommandFactory>::command();
    let of_serve = command.find_subcommand("serve").into_iter().flat_map(clap::Command::get_arguments);
    let flag = |arg: &clap::Arg| Some((format!("--{}", arg.get_long()?), arg.get_help()?.to_string()));
    command.get_arguments().chain(of_serve).filter_map(flag).collect()
}

fn print(text: &str, json: bool) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match (stdout.is_terminal(), json) {
        (true, true) => stdout.write_all(terminal::escaped(text).as_bytes())?,
        (true, false) => stdout.write_all(terminal::printable_lines(text).as_bytes())?,
        (false, _) => stdout.write_all(text.as_bytes())?,
    }
    stdout.flush()
}

fn fail(failure: &CommandFailure, roles: &dyn Roles) -> ExitCode {
    // Refusals have words of programs in them, beside our own.
    let words = terminal::printable_lines(&failure.to_string());
    roles.say_last(format!("muster: {words}\n"));
    ExitCode::from(failure.code())
}
