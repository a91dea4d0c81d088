use std::collections::BTreeMap;

use tempfile::TempDir;

use super::*;

const CONFIG: &str = r#"
listen = "127.0.0.1:0"

[pools.idle]
role_type = "x"

[pools.web]
role_type = "x"
max_agents = 4
max_workers = 40
on_demand = {}

[pools.web.scaling]
mode = "on"
check_interval = 10
policies = [{ kind = "target", metric = "queue_per_worker", target = 5, cooldown_out = 0, cooldown_in = 0 }]

[pools.web.tiers]
spot_share = 0.5
base = { min_workers = 2, max_workers = 4, price_per_hour = 0.4 }
spot = { price_per_hour = 0.1, instance_types = ["c6g.xlarge"] }
"#;

struct Place {
    folder: TempDir,
    environment: Environment,
}

impl Place {
    fn new(config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temp folder");
        std::fs::write(folder.path().join("muster.toml"), config).expect("the configuration");
        let environment = Environment { variables: BTreeMap::new(), folder: folder.path().to_owned(), root: false };
        Self { folder, environment }
    }

    fn run(&self, asked: &SimulationRequest) -> Result<Simulated, CommandFailure> {
        run(&Flags::default(), &self.environment, asked)
    }

    fn file(&self, name: &str, text: &str) -> std::path::PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path
    }
}

fn asked(load: SimulatedLoad) -> SimulationRequest {
    SimulationRequest { load, against: Vec::new(), peer: false, pool: None, seed: 1, html: None }
}

fn shape(shape: &str) -> SimulatedLoad {
    SimulatedLoad::Shape { shape: shape.to_owned(), concurrency: 40, run: 120, hours: 3 }
}

#[test]
fn the_words_of_the_command_line_are_those_of_the_simulator() {
    assert_eq!(muster_cli::SHAPES.to_vec(), LoadShape::words());
    let presets: Vec<&str> = std::iter::once(presets::WEEK).chain(plans::names()).collect();
    assert_eq!(muster_cli::PRESETS.to_vec(), presets);
}

#[test]
fn a_configuration_stands_beside_another_one_and_the_peer() {
    let place = Place::new(CONFIG);
    let trace = place.file("day.csv", "at,run_seconds,count\n0,60,100\n600,60,100\n");
    let other = place.file("other.toml", "[pools.a]\nrole_type = 'x'\non_demand = {}\nscaling = { preset = 'step' }\n");
    let page = place.folder.path().join("page.html");
    let simulated = place
        .run(&SimulationRequest {
            against: vec![other],
            peer: true,
            html: Some(page.clone()),
            ..asked(SimulatedLoad::Trace(trace))
        })
        .expect("a simulation");
    let names: Vec<&str> =
        simulated.json["simulations"].as_array().expect("a list").iter().filter_map(|of| of["name"].as_str()).collect();
    assert_eq!(names, ["muster.toml: web", "other.toml: a", "backlog-only, as KEDA by default"]);
    assert!(simulated.text.starts_with("day.csv: 200 tasks in "), "{}", simulated.text);
    let tiers = simulated.json["simulations"][0]["tiers"].as_array().map(Vec::len);
    assert_eq!((tiers, simulated.json["simulations"][0]["load"]["tasks"].as_u64()), (Some(2), Some(200)));
    let page = std::fs::read_to_string(page).expect("a page");
    assert!(page.contains("other.toml: a") && page.contains("<svg"));
}

#[test]
fn pools_without_policies_are_simulated_with_a_preset_and_a_note() {
    let place = Place::new(CONFIG);
    let pool = Some("idle".parse().expect("a name"));
    let simulated = place.run(&SimulationRequest { pool, ..asked(shape("steps")) }).expect("a simulation");
    assert!(
        simulated
            .text
            .ends_with("\nnote: muster.toml: idle has no scaling policies: the preset target was simulated\n")
    );
    let none = Place::new("");
    assert!(none.run(&asked(shape("wave"))).expect("a simulation").text.contains("note: muster.toml has no scaling"));
}

#[test]
fn plans_are_checked() {
    let simulated = Place::new("").run(&asked(SimulatedLoad::Preset("plan-5000".to_owned()))).expect("a plan");
    assert!(simulated.text.contains("None of the published plans holds 5,000 runs."), "{}", simulated.text);
    assert_eq!(simulated.json["plan"]["loads"][0]["holds"], false);
}

#[test]
fn what_is_wrong_is_named() {
    let wrong = |config: &str, pool: Option<&str>| {
        let pool = pool.map(|name| name.parse().expect("a name"));
        let failure =
            Place::new(config).run(&SimulationRequest { pool, ..asked(shape("wave")) }).expect_err("a mistake");
        (failure.code(), failure.to_string())
    };
    for (config, pool, code, words) in [
        ("x = ", None, 64, "muster.toml:1: "),
        (CONFIG, Some("none"), 64, "muster.toml: there is no pool none"),
        ("[pools.a]\nmax_agents = 0", None, 64, "pools.a.max_agents must be"),
        ("[pools.a]\nagents = 1", None, 64, "unknown field `agents`"),
        ("[pools.a.scaling]\ncheck_interval = 0", None, 64, "pools.a.scaling.check_interval must be at least 0.1 s"),
        ("[pools.a.tiers.spot]\nlaunchers = ['moon']", None, 64, "pools.a.tiers.spot.launchers: there is no launcher"),
    ] {
        let (told_code, told) = wrong(config, pool);
        assert!(told_code == code && told.contains(words), "{told_code} {told}");
    }
    let place = Place::new(CONFIG);
    let failure = |name: &str, text: &str| {
        let trace = place.file(name, text);
        place.run(&asked(SimulatedLoad::Trace(trace))).expect_err("no trace").to_string()
    };
    assert!(failure("a.csv", "at\n").contains("a.csv: line 1: the head at,run_seconds,count is expected"));
    let missing = place.run(&asked(SimulatedLoad::Trace("/nowhere/a.csv".into()))).expect_err("no file");
    assert!(missing.to_string().contains("/nowhere/a.csv can't be read"), "{missing}");
}

/// The first block of a page in this language.
fn block<'p>(page: &'p str, language: &str) -> &'p str {
    let (_, rest) = page.split_once(&format!("```{language}\n")).expect("a block");
    rest.split_once("```").expect("its end").0
}

#[test]
fn the_docs_show_what_is_read() {
    let page = include_str!("../../docs/simulator.md");
    let place = Place::new(block(page, "toml"));
    let read = pools::read(&Flags::default(), &place.environment, None).expect("a pool");
    assert_eq!((read.name.as_str(), read.note, read.setup.tiers.used().count()), ("muster.toml: web", None, 3));
    let trace = place.file("day.csv", block(page, "csv"));
    assert!(
        place.run(&asked(SimulatedLoad::Trace(trace))).expect("a simulation").text.starts_with("day.csv: 21 tasks")
    );
    for instance in muster_simulator::catalogue::CATALOGUE {
        let price = instance.price_per_hour.map_or("-".to_owned(), |price| format!("{price:.3}"));
        let row = format!(
            "| {} | {} | {} | {price} | {}",
            instance.name, instance.vcpus, instance.memory_gib, instance.least_tasks
        );
        assert!(page.contains(&row), "{row}");
    }
    let compared = include_str!("../../docs/scaling-comparison.md");
    let place = Place::new(&block(compared, "toml").replace("NAME", "p"));
    let shown = pools::read(&Flags::default(), &place.environment, None).expect("a pool").scaling;
    assert_eq!(muster_domain::ScalingConfig { mode: muster_domain::ScalingMode::Off, ..shown }, presets::lean());
}
