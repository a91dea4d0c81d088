//! What became of a pool's votes, in one word.

use utoipa::ToSchema;

crate::words! {
    /// Why a pool's target stays, or goes less far than it was voted.
    #[derive(PartialOrd, Ord, ToSchema)]
    pub enum HoldKind {
        /// The votes are for what there is.
        NothingToChange = "nothing_to_change",
        /// A figure is near enough to its target.
        WithinTolerance = "within_tolerance",
        /// The last change of the pool was a short time ago.
        Cooldown = "cooldown",
        /// A vote of the stabilization window was for less change.
        Stabilization = "stabilization",
        /// A figure that a policy needs is missing.
        MissingMetric = "missing_metric",
        /// Nothing was measured, or too long ago.
        NoPicture = "no_picture",
        /// There are as few workers as there may be.
        MinWorkers = "min_workers",
        /// There are as many workers as there may be.
        MaxWorkers = "max_workers",
        /// One step goes no further.
        MaxChange = "max_change",
        /// Busy agents, and those that a person spawned, need these workers.
        Needed = "needed",
        /// There are workers for all agents that the pool may start for tasks.
        OnDemand = "on_demand",
        /// More workers would cost more than is allowed.
        Cost = "cost",
        /// The host has hardly any memory left.
        HostMemory = "host_memory",
        /// The direction has changed too often within an hour.
        FlapBudget = "flap_budget",
        /// The last decision is not carried out yet.
        NotCarriedOut = "not_carried_out",
        /// A person has paused the pool.
        Paused = "paused",
        /// Tasks wait since too many of them fail.
        Breaker = "breaker",
        /// The pool is being removed.
        Draining = "draining",
        /// A person has said how many workers there are to be.
        Person = "person",
    }
}

crate::words! {
    /// Which way a pool goes.
    #[derive(ToSchema)]
    pub enum Direction {
        /// More workers.
        Out = "out",
        /// Fewer workers.
        In = "in",
    }
}
