-- The tasks of a tenant are listed in the order of their ids.
CREATE INDEX tasks_of_tenant ON tasks (tenant, task_id);
