//! Instance types: their size, what they cost, and how many tasks each runs at a time.
//!
//! Sizes are the published ones of EC2's Graviton2 families. Prices and tasks are a sample of what people plan with; where that has no price
//! there is none here, and nothing is computed from one that is not known. A type that the sample does not have runs as many tasks for
//! each virtual processor as the others of its family.

use serde::Serialize;

/// An instance type.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct InstanceType {
    /// Its name.
    pub name: &'static str,
    /// Virtual processors.
    pub vcpus: u16,
    /// Memory, in GiB.
    pub memory_gib: u16,
    /// What one costs an hour, in US dollars; none where the sample does not say.
    pub price_per_hour: Option<f64>,
    /// Tasks that one runs at a time, at the least.
    pub least_tasks: u16,
    /// Tasks that one runs at a time, at the most: where they use little memory.
    pub most_tasks: u16,
}

impl InstanceType {
    /// What a task costs an hour on it, in US dollars, with as many tasks as it runs at the least and at the most.
    pub fn task_hour_prices(&self) -> Option<(f64, f64)> {
        let price = self.price_per_hour?;
        Some((price / f64::from(self.least_tasks), price / f64::from(self.most_tasks)))
    }
}

const fn of(
    name: &'static str,
    [vcpus, memory_gib]: [u16; 2],
    price_per_hour: Option<f64>,
    [least_tasks, most_tasks]: [u16; 2],
) -> InstanceType {
    InstanceType { name, vcpus, memory_gib, price_per_hour, least_tasks, most_tasks }
}

/// All types.
pub const CATALOGUE: [InstanceType; 9] = [
    of("c6g.xlarge", [4, 8], Some(0.034), [4, 4]),
    of("c6g.2xlarge", [8, 16], Some(0.068), [8, 8]),
    of("c6g.4xlarge", [16, 32], None, [16, 16]),
    of("m6g.xlarge", [4, 16], Some(0.038), [4, 8]),
    of("m6g.2xlarge", [8, 32], Some(0.077), [8, 16]),
    of("m6g.4xlarge", [16, 64], None, [16, 32]),
    of("r6g.large", [2, 16], None, [4, 8]),
    of("r6g.xlarge", [4, 32], Some(0.050), [8, 16]),
    of("r6g.2xlarge", [8, 64], None, [16, 32]),
];

/// A type by its name.
pub fn find(name: &str) -> Option<&'static InstanceType> {
    CATALOGUE.iter().find(|instance| instance.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_hour_costs_the_instance_by_its_tasks() {
        let prices = |name: &str| find(name).and_then(InstanceType::task_hour_prices);
        let rounded =
            |name| prices(name).map(|(least, most)| [least, most].map(|price| (price * 1e5_f64).round() / 1e5));
        assert_eq!(rounded("c6g.2xlarge"), Some([0.0085, 0.0085]));
        assert_eq!(rounded("m6g.xlarge"), Some([0.0095, 0.00475]));
        assert_eq!(rounded("r6g.xlarge"), Some([0.00625, 0.00313]));
        assert_eq!((prices("r6g.large"), find("r6g.huge")), (None, None), "no price is invented");
    }

    #[test]
    fn types_of_a_family_are_alike() {
        for instance in CATALOGUE {
            let (family, _) = instance.name.split_once('.').expect("a family");
            let first = CATALOGUE.iter().find(|other| other.name.starts_with(family)).expect("itself");
            let each =
                |of: &InstanceType| (of.memory_gib / of.vcpus, of.least_tasks / of.vcpus, of.most_tasks / of.vcpus);
            assert_eq!(each(&instance), each(first), "{}", instance.name);
        }
    }
}
