// A merchant that speaks through wechatpay-axios-plugin: a line of JSON in, a line of JSON out; the first names its keys.
// Usage: node axios_plugin_merchant.mjs FOLDER, where FOLDER/node_modules holds the client.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const require = createRequire(`${process.argv[2]}/`);
const { Wechatpay, Aes, Formatter, Rsa } = require('wechatpay-axios-plugin');

const ORDERS = 'v3/payscore/serviceorder';
const PERMISSIONS = 'v3/payscore/permissions';
const REFUNDS = 'v3/refund/domestic/refunds';

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const keys = JSON.parse((await lines.next()).value);
const ours = { appid: keys.appid };
const certs = {
  [keys.platform_serial_no]: keys.platform_certificate,
  [keys.public_key_id]: keys.public_key,
};
const client = new Wechatpay({
  baseURL: `${keys.base_url}/`,
  mchid: keys.mchid,
  serial: keys.serial_no,
  privateKey: keys.private_key,
  certs: { ...certs },
  timeout: 10_000,
  ...(keys.sign_with === 'public_key' ? { headers: { 'Wechatpay-Serial': keys.public_key_id } } : {}),
});

const get = (path, params = {}) => client.chain(path).get({ params });
const post = (path, body) => client.chain(path).post(body);
const permission = (said) => (said.authorization_code
  ? `${PERMISSIONS}/authorization-code/${said.authorization_code}` : `${PERMISSIONS}/openid/${said.openid}`);
const app = (said) => (said.authorization_code ? {} : ours);
const onOrder = (verb) => ({ out_order_no: number, ...body }) => post(`${ORDERS}/${number}/${verb}`, { ...ours, ...body });

const verbs = {
  pre_authorise: (said) => post(PERMISSIONS, { ...ours, notify_url: keys.notify_url, ...said }),
  query_permission: (said) => get(permission(said), { service_id: said.service_id, ...app(said) }),
  terminate_permission: (said) => post(
    `${permission(said)}/terminate`,
    { service_id: said.service_id, reason: said.reason, ...app(said) },
  ),
  create: (said) => post(ORDERS, { ...ours, notify_url: keys.notify_url, ...said }),
  query: (said) => get(ORDERS, { ...ours, ...said }),
  cancel: onOrder('cancel'),
  complete: onOrder('complete'),
  modify: onOrder('modify'),
  pay: onOrder('pay'),
  refund: (said) => post(REFUNDS, said),
  query_refund: (said) => get(`${REFUNDS}/${said.out_refund_no}`),
  by_path: ({ path, body }) => (body ? post(path.slice(1), body) : get(path.slice(1))),
  query_transaction: (said) => get(`v3/pay/transactions/id/${said.transaction_id}`, { mchid: keys.mchid }),
};

async function answered({ verb, said }) {
  if (verb === 'callback') return { told: told(said) };
  try {
    const { status, data } = await verbs[verb](said);
    return { status, body: data || null };
  } catch (error) {
    // Of an answer that does not verify there is a response too, with a code of the client's own.
    if (!error.response || error.code?.startsWith('EV3_')) return { error: error.code ?? error.message };
    return { status: error.response.status, body: error.response.data };
  }
}

// As the client's own guide does it: the client has no method for it.
function told({ headers, body }) {
  const {
    'wechatpay-timestamp': timestamp, 'wechatpay-nonce': nonce, 'wechatpay-serial': serial, 'wechatpay-signature': signature,
  } = headers;
  const signed = Formatter.response(timestamp, nonce, body);
  if (!Rsa.verify(signed, signature, Rsa.from(certs[serial], Rsa.KEY_TYPE_PUBLIC))) return null;
  const notification = JSON.parse(body);
  const { ciphertext, nonce: iv, associated_data: aad } = notification.resource;
  return { ...notification, resource: JSON.parse(Aes.AesGcm.decrypt(ciphertext, keys.apiv3_key, iv, aad)) };
}

for await (const line of lines) {
  process.stdout.write(`${JSON.stringify(await answered(JSON.parse(line)))}\n`);
}
