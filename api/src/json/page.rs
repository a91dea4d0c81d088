//! One page of a list, as it is answered.

/// Makes the answer that is a page of `$item`s: `Page` of the supervisor under a name that the document promises, with a cursor.
macro_rules! page {
    ($(#[$doc:meta])* $name:ident of $item:ty, from $id:ty) => {
        $(#[$doc])*
        #[derive(Debug, serde::Serialize, utoipa::ToSchema)]
        struct $name {
            items: Vec<$item>,
            /// Give it as `cursor` to get the next page; null after the last.
            #[schema(value_type = Option<String>)]
            next_cursor: Option<$id>,
        }

        impl From<muster_supervisor::Page<$item, $id>> for $name {
            fn from(page: muster_supervisor::Page<$item, $id>) -> Self {
                Self { items: page.items, next_cursor: page.next }
            }
        }
    };
}

pub(crate) use page;
