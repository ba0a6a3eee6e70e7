// What test_typescript.py runs, in Node.js and in a browser: the built client, against the service behind a proxy that
// loses the answer to the first POST and refuses the second one.
import { ApiError, connect, create, dataOf, items, update } from "./client/dist/index.js";

function check(holds: boolean, what: string): asserts holds {
  if (!holds) throw new Error(`not so: ${what}`);
}

const many = "/api/{user_id}/tasks";
const one = "/api/{user_id}/tasks/{task_id}";

export async function use(baseUrl: string, user_id: string): Promise<string> {
  const api = connect(baseUrl);
  const all = () =>
    items((cursor) =>
      api.GET(many, { params: { path: { user_id }, query: { limit: 2, ...(cursor === undefined ? {} : { cursor }) } } }),
    );
  const add = (title: string) =>
    create((header) => api.POST(many, { params: { path: { user_id }, header }, body: { title } }));

  const created = await add("Buy milk");
  check(created.title === "Buy milk" && !created.completed && created.description === null, "created");
  for (const title of ["1", "2", "3", "4"]) await add(title);
  const titles: string[] = [];
  for await (const task of all()) titles.push(task.title);
  check(titles.join() === "4,3,2,1,Buy milk", `every row once, over three pages: ${titles.join()}`);

  const path = { user_id, task_id: created.id };
  const read = () => api.GET(one, { params: { path } });
  const first = await read();
  const tag = first.response.headers.get("ETag");
  check(tag !== null && first.response.headers.get("X-Request-ID") !== null, "a page may read the headers");

  // Somebody else is faster, once.
  const seen: string[] = [];
  const changed = await update(read, async (task, header) => {
    seen.push(task.title);
    if (seen.length === 1) await api.PUT(one, { params: { path }, body: { title: "Buy oat milk" } });
    return api.PUT(one, { params: { path, header }, body: { title: `${task.title}!` } });
  });
  check(changed.title === "Buy oat milk!" && seen.join() === "Buy milk,Buy oat milk", "changed what is there now");

  const toggled = await api.PATCH("/api/{user_id}/tasks/{task_id}/complete", { params: { path } });
  check(dataOf(toggled).completed, "toggled");
  const stale = await api.DELETE(one, { params: { path, header: { "If-Match": tag } } });
  check(stale.response.status === 412 && stale.error?.title === "Precondition Failed", "412, typed");
  check(dataOf(await api.DELETE(one, { params: { path } })).message.length > 0, "deleted");

  const missing = await read().then(dataOf).catch((error: unknown) => error);
  check(missing instanceof ApiError && missing.problem?.status === 404, "404, typed");
  const refused = await add(" ").catch((error: unknown) => error);
  check(refused instanceof ApiError && refused.problem?.errors?.[0]?.loc.join(".") === "body.title", "400 says where");
  return "all of it";
}

// @ts-expect-error The document has no such path.
export const wrong = () => connect("").GET("/api/nothing");
