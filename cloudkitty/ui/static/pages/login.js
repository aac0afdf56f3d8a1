// A token from Keystone: with a name and a password, or an application credential.

import * as api from '../api.js';
import { el } from '../dom.js';
import { t } from '../words.js';

const FIELDS = {
  password: ['user', 'domain', 'password', 'project'],
  application_credential: ['credential', 'secret'],
};

// Where the address of the page waits while Keystone has the browser: a form brings none back.
const KEPT = 'cloudkitty.page';

/**
 * Return what asks for a log-in; after it *proceed* is called.
 * @param told why it is asked for, if that needs to be said
 */
export function show(proceed, told = '') {
  const { token } = document.body.dataset;
  if (token) {
    delete document.body.dataset.token;
    history.replaceState(null, '', new URL(`./${sessionStorage.getItem(KEPT) || ''}`, location.href));
    sessionStorage.removeItem(KEPT);
    return choose(token, proceed);
  }
  const method = el('select', { name: 'method', on: { change: () => place(FIELDS[method.value]) } },
    Object.keys(FIELDS).map((name) => el('option', { value: name }, t(name))));
  const fields = el('div', { class: 'fields' });
  const failed = el('p', { role: 'alert' });
  const place = (names) => fields.replaceChildren(...names.map((name) => el('label', {}, t(`login_${name}`), ' ',
    el('input', {
      name, required: true, autocomplete: 'on', type: ['password', 'secret'].includes(name) ? 'password' : 'text',
      value: name === 'domain' ? 'Default' : undefined,
    }))));
  const submit = async (event) => {
    event.preventDefault();
    failed.textContent = '';
    try {
      api.useToken(await api.authenticate(request(method.value, Object.fromEntries(new FormData(event.target)))));
    } catch (error) {
      failed.textContent = error.status === 401 ? t('wrongPassword') : `${t('notReached')} ${error.message}`;
      return;
    }
    proceed();
  };
  place(FIELDS.password);
  return [el('h1', {}, t('login')), told && el('p', { class: 'warning', role: 'status' }, told), ...links(),
    el('form', { class: 'login', on: { submit } },
      el('label', {}, t('loginWith'), ' ', method), fields, failed,
      el('button', { type: 'submit' }, t('login')))];
}

/** Return links to Keystone's single sign-on, which sends the browser back to /ui/sso. */
function links() {
  const { keystone, sso = '' } = document.body.dataset;
  return sso.split(' ').filter(Boolean).map((protocol) => {
    const url = new URL(`${keystone}/auth/OS-FEDERATION/websso/${protocol}`);
    url.searchParams.set('origin', api.addressOf('ui/sso'));
    const keep = () => sessionStorage.setItem(KEPT, location.hash);
    return el('p', {}, el('a', { class: 'button', href: url, on: { click: keep } }, t('loginBy', { protocol })));
  });
}

/** Let a reader whose token is for no project choose one. */
function choose(token, proceed) {
  const box = el('div', { role: 'status' }, el('p', {}, t('loading')));
  const told = el('p', { role: 'alert' });
  const enter = async (project) => {
    try {
      api.useToken(await api.authenticate({
        auth: { identity: { methods: ['token'], token: { id: token } }, scope: { project: { id: project } } },
      }));
    } catch (error) {
      told.textContent = error.status === 401 ? t('wrongPassword') : `${t('notReached')} ${error.message}`;
      return;
    }
    proceed();
  };
  api.projectsOf(token).then((projects) => {
    if (projects.length === 1) return enter(projects[0].id);
    return box.replaceChildren(projects.length ? el('ul', {}, projects.map((project) => el('li', {},
      el('button', { type: 'button', on: { click: () => enter(project.id) } }, project.name))))
      : el('p', {}, t('noOwnProject')));
  }, (error) => { told.textContent = `${t('notReached')} ${error.message}`; });
  return [el('h1', {}, t('chooseProject')), box, told];
}

/** Return the body of a request for a token, Identity API version 3. */
function request(method, given) {
  if (method === 'application_credential') {
    return { auth: { identity: { methods: [method], [method]: { id: given.credential, secret: given.secret } } } };
  }
  const domain = { name: given.domain };
  return {
    auth: {
      identity: { methods: ['password'], password: { user: { name: given.user, domain, password: given.password } } },
      scope: { project: { name: given.project, domain } },
    },
  };
}
