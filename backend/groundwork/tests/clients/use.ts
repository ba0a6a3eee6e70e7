// What test_typescript.py runs: the example of docs/clients.md, and the operations that it does not use.
import { api, ApiError, changeTask, createTask, listTasks, type Task } from "./tasks.js";

function check(holds: boolean, what: string): asserts holds {
  if (!holds) throw new Error(`not so: ${what}`);
}

// A user whose id has to be encoded in a path.
const user_id = "a/b c";

// The first answer to a POST is lost, after the service has given it.
let posts = 0;
api.use({
  onResponse({ request }) {
    if (request.method === "POST" && posts++ === 0) throw new TypeError("the connection was lost");
  },
});
const created: Task = await createTask(user_id, { title: "Buy milk" });
check(posts === 2 && created.title === "Buy milk" && !created.completed && created.description === null, "created");

for (let number = 1; number <= 100; number++) await createTask(user_id, { title: `Task ${number}` });
const titles: string[] = [];
for await (const task of listTasks(user_id)) titles.push(task.title);
check(titles.length === 101 && titles[0] === "Task 100" && titles[100] === "Buy milk", "two pages, one task each");

const path = { user_id, task_id: created.id };
const one = "/api/{user_id}/tasks/{task_id}";
const first = await api.GET(one, { params: { path } });
const tag = first.response.headers.get("ETag");
check(first.data?.id === created.id && tag !== null, "read, with a tag");
const kept = await api.GET(one, { params: { path, header: { "If-None-Match": tag } } });
check(kept.response.status === 304 && !kept.data, "304");

// Somebody else is faster, once.
let rival = true;
const changed = await changeTask(user_id, created.id, (task) => ({ description: `${task.title}, two litres` }));
check(changed.description === "Buy milk, two litres", "changed");
api.use({
  async onRequest({ request }) {
    if (request.method === "PUT" && request.headers.has("If-Match") && rival) {
      rival = false;
      await api.PUT(one, { params: { path }, body: { title: "Buy oat milk" } });
    }
  },
});
const again = await changeTask(user_id, created.id, (task) => ({ title: `${task.title}!`, description: null }));
check(!rival && again.title === "Buy oat milk!" && again.description === null, "changed what the other one made");

const toggled = await api.PATCH("/api/{user_id}/tasks/{task_id}/complete", { params: { path } });
check(toggled.data?.completed === true, "toggled");
const done = await api.GET("/api/{user_id}/tasks", { params: { path: { user_id }, query: { completed: true } } });
check(done.data?.length === 1, "filtered");
const stale = await api.DELETE(one, { params: { path, header: { "If-Match": tag } } });
check(stale.response.status === 412 && stale.error?.title === "Precondition Failed", "412, typed");
const deleted = await api.DELETE(one, { params: { path } });
check(deleted.data?.message === "Task deleted successfully", "deleted");
const missing = await api.GET(one, { params: { path } });
check(missing.response.status === 404 && missing.error?.status === 404, "404, typed");

const refused = await createTask(user_id, { title: " " }).catch((error: unknown) => error);
check(refused instanceof ApiError && refused.problem.errors?.[0]?.loc.join(".") === "body.title", "400 says where");

const ready = await api.GET("/health/ready");
check(ready.data?.status === "ok", "ready");
console.log("all of it");
