// How people are named where the API wants a user's id: everybody can see and
// copy their own, and an e-mail does where somebody here is known by it.

import { Problem } from './api.js';
import { announce, h } from './dom.js';

/** ownId shows a user id with a button that copies it. */
export function ownId(id) {
  const text = h('code', { class: 'own-id', text: id });
  const copy = h('button', { type: 'button', class: 'secondary small', 'aria-label': 'Copy the user id', text: 'Copy' });
  copy.addEventListener('click', async () => {
    try {
      await navigator.clipboard.writeText(id);
      announce('User id copied.');
    } catch {
      getSelection().selectAllChildren(text); // Not every page may write to the clipboard.
      announce('Selected: copy it with Ctrl+C.');
    }
  });
  return h('div', { class: 'row' }, text, copy);
}

/**
 * userId gives the user id that a person typed: what has no @ as it is, and for
 * an e-mail the id of who has it in one of tenants, [{id, name}]. It throws a
 * Problem at the named field if nobody has it, or several people do.
 */
export async function userId(client, typed, { field, tenants }) {
  if (!typed.includes('@')) return typed;
  const found = new Map();
  for (const tenant of tenants) {
    for (const profile of await client.list('/api/v3/profiles', { inTenant: tenant.id })) {
      if (profile.email?.toLowerCase() === typed.toLowerCase()) found.set(profile.user_id, tenant.name);
    }
  }
  const wrong = (detail) => new Problem({ status: 0, title: 'Who is that?', errors: [{ pointer: `/${field}`, detail }] });
  if (found.size === 0) throw wrong(`Nobody in ${tenants.map((t) => t.name).join(', ')} has this e-mail. Ask them for their user id: they see it in this console, under their name.`);
  if (found.size > 1) throw wrong('Several people have this e-mail. Use the user id of the one you mean.');
  return found.keys().next().value;
}
