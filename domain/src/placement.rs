//! How a pool chooses the worker of an agent. What each word means in detail is said where it is judged, in the policy's `placement`.

use utoipa::ToSchema;

crate::words! {
    /// Which worker an agent gets, of those that have room.
    #[derive(Default, ToSchema)]
    pub enum PlacementStrategy {
        /// The fullest: the fewest workers.
        #[default]
        Pack = "pack",
        /// The one with the fewest agents: as even as it goes.
        Spread = "spread",
        /// The one that uses the least of the host's processors and memory, as measured.
        LeastLoaded = "least_loaded",
    }
}
