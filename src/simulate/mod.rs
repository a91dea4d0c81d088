//! `muster simulate`: reads files, has the simulator run, and writes the page.

mod pools;

use std::path::Path;
use std::time::Duration;

use muster_cli::{CommandFailure, Simulated, SimulatedLoad, SimulationRequest};
use muster_config::{Environment, Flags};
use muster_domain::Words;
use muster_simulator::plans::{self, PlanReport};
use muster_simulator::report::{page, text};
use muster_simulator::{
    GeneratedLoad, KedaScaler, LoadShape, MusterScaler, Setup, SimulationReport, TaskLoad, presets, simulate,
};
use serde_json::json;

use pools::SimulatedPool;

/// Simulates what is asked.
pub(crate) fn run(
    flags: &Flags,
    environment: &Environment,
    asked: &SimulationRequest,
) -> Result<Simulated, CommandFailure> {
    let plan = match &asked.load {
        SimulatedLoad::Preset(name) => plans::plan(name),
        SimulatedLoad::Trace(_) | SimulatedLoad::Shape { .. } => None,
    };
    let simulated = match plan.and_then(|plan| plans::check(plan, asked.seed)) {
        Some(plan) => of_plan(&plan),
        None => of_pools(flags, environment, asked)?,
    };
    if let Some(path) = &asked.html {
        write(path, &simulated.page)?;
    }
    Ok(Simulated { text: simulated.text, json: simulated.json })
}

/// A result in each form.
struct Rendered {
    text: String,
    json: serde_json::Value,
    page: String,
}

fn of_plan(report: &PlanReport) -> Rendered {
    Rendered { text: text::plan(report), json: json!({ "plan": report }), page: page::page(&[], Some(report)) }
}

fn of_pools(flags: &Flags, environment: &Environment, asked: &SimulationRequest) -> Result<Rendered, CommandFailure> {
    let load = load(asked)?;
    let mut pools = vec![pools::read(flags, environment, asked.pool.as_ref())?];
    for path in &asked.against {
        let other = Flags { config: Some(path.clone()), ..flags.clone() };
        pools.push(pools::read(&other, environment, asked.pool.as_ref())?);
    }
    let mut reports: Vec<SimulationReport> = pools.iter().map(|pool| of_pool(pool, &load, asked.seed)).collect();
    if let (true, Some(pool)) = (asked.peer, pools.first()) {
        reports.push(simulate(&seeded(&pool.setup, asked.seed), &load, &mut KedaScaler::default()));
    }
    let notes: Vec<&str> = pools.iter().filter_map(|pool| pool.note.as_deref()).collect();
    let mut told = text::simulations(&reports);
    notes.iter().for_each(|note| told.push_str(&format!("\nnote: {note}\n")));
    let json = json!({ "simulations": reports, "notes": notes });
    Ok(Rendered { text: told, json, page: page::page(&reports, None) })
}

fn of_pool(pool: &SimulatedPool, load: &TaskLoad, seed: u64) -> SimulationReport {
    let mut scaler = MusterScaler::new(pool.name.clone(), pool.scaling.clone());
    simulate(&seeded(&pool.setup, seed), load, &mut scaler)
}

fn seeded(setup: &Setup, seed: u64) -> Setup {
    Setup { seed, ..setup.clone() }
}

fn load(asked: &SimulationRequest) -> Result<TaskLoad, CommandFailure> {
    match &asked.load {
        SimulatedLoad::Trace(path) => {
            let csv = read(path)?;
            let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
            let wrong = |mistake| CommandFailure::Failed(format!("{}: {mistake}", path.display()));
            TaskLoad::recorded(name, &csv).map_err(wrong)
        }
        SimulatedLoad::Preset(name) if name == presets::WEEK => Ok(presets::week(asked.seed)),
        SimulatedLoad::Preset(name) => Err(CommandFailure::Usage(format!("there is no preset {name:?}"))),
        SimulatedLoad::Shape { shape, concurrency, run, hours } => {
            let known = LoadShape::of_word(shape);
            let shape = known.ok_or_else(|| CommandFailure::Usage(format!("there is no load {shape:?}")))?;
            let generated = GeneratedLoad {
                shape,
                concurrency: *concurrency,
                mean_run: Duration::from_secs((*run).into()),
                phases: 4,
                span: Duration::from_secs(3_600 * u64::from(*hours)),
                seed: asked.seed,
            };
            Ok(TaskLoad::generated(shape.as_str(), generated))
        }
    }
}

fn read(path: &Path) -> Result<String, CommandFailure> {
    std::fs::read_to_string(path)
        .map_err(|error| CommandFailure::Failed(format!("{} can't be read: {error}", path.display())))
}

fn write(path: &Path, page: &str) -> Result<(), CommandFailure> {
    std::fs::write(path, page)
        .map_err(|error| CommandFailure::Failed(format!("{} can't be written: {error}", path.display())))
}

#[cfg(test)]
mod tests;
