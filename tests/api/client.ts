// Uses the types of the document against a running server: what does not fit them is no program.
import createClient from "openapi-fetch";
import type { paths } from "./api";

const url = process.argv[2] ?? "";
const client = createClient<paths>({ baseUrl: url });
const pool_name = "developer_pool";

function given<T>(what: string, value: T | undefined | null): T {
  if (value === undefined || value === null) throw new Error(`${what} is missing`);
  return value;
}

async function main(): Promise<void> {
  const spawned = await client.POST("/api/v1/agents/spawn", {
    params: { query: { wait: 30 } },
    body: { project_id: "shop", role_type: "developer", pool_name },
  });
  const agent = given("the agent", spawned.data);
  const answer = await client.POST("/api/v1/tasks", {
    params: { query: { wait: 30 } },
    body: { pool_name, input: { a: [1, null] } },
  });
  const task = given("the task", answer.data);
  if (task.state !== "succeeded") throw new Error(`the task is ${task.state}`);
  const refused = await client.GET("/api/v1/tasks/{task_id}", { params: { path: { task_id: "none" } } });
  if (refused.error?.code !== "unknown_task") throw new Error("a task that is not there is a problem");
  const pool = await client.GET("/api/v1/agents/pools/{pool_name}", { params: { path: { pool_name } } });
  const { breaker, config } = given("the pool", pool.data);
  if (breaker.state !== "closed" || config.breaker.window <= 0) throw new Error("the breaker and its settings");
  const shown = await client.GET("/api/v1/agents/{agent_id}", { params: { path: { agent_id: agent.agent_id } } });
  const cause = shown.data?.last_ending?.cause.kind;
  if (cause !== undefined) throw new Error(`it ended: ${cause}`);
  console.log("the client of TypeScript works");
}

void main();
