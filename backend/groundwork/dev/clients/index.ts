/** A typed client: `connect`, and helpers for lists, creates and updates of any resource of the document. */
import createClient, { type Client, type ClientOptions } from "openapi-fetch";
import type { components, paths } from "./schema.js";

export type { components, operations, paths } from "./schema.js";
export type Problem = components["schemas"]["Problem"];

/** What a call of the client resolves to. */
export type Answer<T> = { data?: T; error?: unknown; response: Response };

/** An answer that is no success. `problem` is missing when it came from something between client and service. */
export class ApiError extends Error {
  readonly problem: Problem | undefined;

  constructor(
    readonly response: Response,
    error: unknown,
  ) {
    const problem = isProblem(error) ? error : undefined;
    super(problem?.detail ?? `The answer is ${response.status}, without a problem document.`);
    this.name = "ApiError";
    this.problem = problem;
  }
}

function isProblem(error: unknown): error is Problem {
  return typeof error === "object" && error !== null && "detail" in error && "status" in error;
}

/** The client of the service at `baseUrl`. With sign-in: `headers: { Authorization: ... }` among the options. */
export function connect(baseUrl: string, options: Omit<ClientOptions, "baseUrl"> = {}): Client<paths> {
  return createClient<paths>({ ...options, baseUrl });
}

/** The data of an answer, or an `ApiError`. */
export function dataOf<T>({ data, error, response }: Answer<T>): T {
  if (!response.ok) throw new ApiError(response, error);
  return data as T;
}

const ATTEMPTS = 5;
const LONGEST_WAIT_SECONDS = 30;
const TEMPORARY = [429, 502, 503, 504];

/**
 * Calls `send` again while there is no answer, or one that says "later", at most `attempts` times in all. It is for
 * what may be sent twice: reads, and creates with a key.
 */
export async function retry<T>(send: () => Promise<Answer<T>>, attempts = ATTEMPTS): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    let retryAfter: string | null = null;
    try {
      const answer = await send();
      if (!TEMPORARY.includes(answer.response.status) || attempt >= attempts) return dataOf(answer);
      retryAfter = answer.response.headers.get("Retry-After");
    } catch (error) {
      // `fetch` throws a TypeError where there is no answer.
      if (!(error instanceof TypeError) || attempt >= attempts) throw error;
    }
    const seconds = Math.max(Number(retryAfter) || 0, 0.1 * 2 ** attempt) * (1 + Math.random() / 4);
    await new Promise((resolve) => setTimeout(resolve, 1000 * Math.min(seconds, LONGEST_WAIT_SECONDS)));
  }
}

/** All rows of a list, page after page. `send` gets the page's cursor, which is undefined for the first page. */
export async function* items<T>(
  send: (cursor: string | undefined) => Promise<Answer<T[]>>,
  attempts = ATTEMPTS,
): AsyncGenerator<T> {
  let cursor: string | undefined;
  do {
    let following: string | undefined;
    const page = await retry(async () => {
      const answer = await send(cursor);
      following = nextCursor(answer.response);
      return answer;
    }, attempts);
    yield* page;
    cursor = following;
  } while (cursor !== undefined);
}

/** The cursor of the page after this one. `Link` is relative to the request's address. */
function nextCursor(response: Response): string | undefined {
  const link = /<([^>]*)>\s*;\s*rel="?next"?/.exec(response.headers.get("Link") ?? "")?.[1];
  return link === undefined ? undefined : (new URL(link, response.url).searchParams.get("cursor") ?? undefined);
}

/** Creates once: every attempt sends the same `Idempotency-Key`, which `send` passes on as its headers. */
export async function create<T>(
  send: (header: { "Idempotency-Key": string }) => Promise<Answer<T>>,
  attempts = ATTEMPTS,
): Promise<T> {
  const header = { "Idempotency-Key": `"${crypto.getRandomValues(new Uint32Array(4)).join("-")}"` };
  return retry(() => send(header), attempts);
}

/**
 * Reads a row and writes it. `write` gets what was read, and a header `If-Match`. After a 412, it does both again. A
 * write without an answer is not sent again, because it may have happened.
 */
export async function update<Read, Written>(
  read: () => Promise<Answer<Read>>,
  write: (read: Read, header: { "If-Match": string }) => Promise<Answer<Written>>,
  attempts = ATTEMPTS,
): Promise<Written> {
  for (let attempt = 1; ; attempt++) {
    let tag: string | null = null;
    const found = await retry(async () => {
      const answer = await read();
      tag = answer.response.headers.get("ETag");
      return answer;
    }, attempts);
    if (tag === null) throw new Error("The answer has no ETag: a proxy between here and the service removes it.");
    const answer = await write(found, { "If-Match": tag });
    if (answer.response.status !== 412 || attempt >= attempts) return dataOf(answer);
  }
}
