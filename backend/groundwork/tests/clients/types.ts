// What test_types.py runs in Node.js: the built client takes a body of every type to the service and back.
import { connect, create, dataOf, items, update } from "./index.js";
import type { components } from "./schema.js";

type Create = components["schemas"]["SpecimenCreate"];
type Read = components["schemas"]["SpecimenRead"];

const many = "/api/{user_id}/specimens";
const one = "/api/{user_id}/specimens/{specimen_id}";

/** What is read of each body: after it was created, alone, in the list, and after it was sent back. */
export async function use(baseUrl: string, bodies: Create[]): Promise<Read[][]> {
  const api = connect(baseUrl);
  const all: Read[][] = [];
  for (const body of bodies) {
    const made = await create((header) => api.POST(many, { params: { path: { user_id: "alice" }, header }, body }));
    const path = { user_id: "alice", specimen_id: made.id };
    const read = () => api.GET(one, { params: { path } });
    const alone = dataOf(await read());
    const listed: Read[] = [];
    for await (const each of items(() => api.GET(many, { params: { path: { user_id: "alice" } } }))) listed.push(each);
    // A client may send back what it has read.
    const back = await update(read, (found, header) => api.PUT(one, { params: { path, header }, body: found }));
    all.push([made, alone, listed[0]!, back]);
  }
  return all;
}

// @ts-expect-error A number has lost digits.
export const number: components["schemas"]["SpecimenUpdate"] = { price: 12.5 };
// @ts-expect-error It is none of the values.
export const colour: components["schemas"]["SpecimenUpdate"] = { colour: "DARK_RED" };
