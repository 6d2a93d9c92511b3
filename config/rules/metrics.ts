import type { Config } from '../schema.ts'

/** Whether anything is granted the permission `metrics`: from then on the admin port demands it. */
export const grantsMetrics = ({ users, serviceAccounts, anonymous }: Config['auth']): boolean =>
  [anonymous, ...Object.values(users?.roles ?? {}), ...Object.values(serviceAccounts?.roles ?? {})].some(each => each.includes('metrics'))
