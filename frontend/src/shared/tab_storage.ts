// Storage of this browser tab, where the browser lets pages have one.
export function tabStorage(): Storage | null {
  try {
    return sessionStorage;
  } catch {
    return null;
  }
}

// Read, or store, a value of this tab; without storage it lasts as long as the page.
export function remembered(name: string, value?: string): string | null {
  try {
    if (value !== undefined) sessionStorage.setItem(name, value);
    return sessionStorage.getItem(name);
  } catch {
    return null;
  }
}
